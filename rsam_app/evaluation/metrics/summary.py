"""`evaluation/metrics.json`: everything that is measured of one split, from the predictions table and the dataset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rsam_app.data.records import Dataset
from rsam_app.evaluation.metrics import accuracy, calibration
from rsam_app.evaluation.metrics.accuracy import worst_group
from rsam_app.evaluation.metrics.localization import localization
from rsam_app.evaluation.metrics.prediction_arrays import PredictionArrays, split_arrays
from rsam_app.evaluation.metrics.rectangles import rectangle_ious
from rsam_app.evaluation.metrics.soft_mask_scores import DEFAULT_SOFTNESS
from rsam_app.geometry.types import Floats
from rsam_app.system.errors import UserError


def evaluate_predictions(
    table: pa.Table,
    dataset: Dataset,
    split: str,
    classes: Sequence[str] | None = None,
    softness: float = DEFAULT_SOFTNESS,
) -> dict[str, Any]:
    """The contract of `evaluation/metrics.json` for the rows of one split; fractions, not percent.

    Other splits in `table` are used where they are there: `val` to fit the temperature, `train` to freeze MaxBoxAccV2's
    thresholds. `classes` are the model's, in the order of its logits (default: the dataset's). `softness` is that of
    the soft mask's edge as a share of the image's side.

    JSON-serialisable and free of NaN: a figure that does not exist is null, and `absent` says why, by key;
    `localization` is left out where there is none. Raises `UserError` for a split without predictions, or a
    table that does not fit.
    """
    names = tuple(classes if classes is not None else dataset.classes)
    arrays = split_arrays(table, dataset, split, names)
    if not len(arrays.labels):
        have = ", ".join(sorted(set(table.column("split").to_pylist()))) or "none"
        raise UserError(
            f"{dataset.name}: there are no predictions for the split {split!r} (have: {have}).\n"
            "Choose a split that has images with evaluate.split, or run `rsam predict` for it first."
        )
    absent: dict[str, str] = {}
    ious = np.full(len(arrays.labels), np.nan)
    if len(arrays.with_rectangle):
        ious[arrays.with_rectangle] = rectangle_ious(
            arrays.rectangles[arrays.with_rectangle], [arrays.records[i] for i in arrays.with_rectangle]
        )
    metrics: dict[str, Any] = {
        "split": split,
        "n": len(arrays.labels),
        "n_without_prediction": len({r.id for r in dataset.split(split)} - {r.id for r in arrays.records}),
        **_accuracy(arrays, dataset, names, absent),
        "calibration": _calibration(arrays, table, dataset, split, names, absent),
    }
    located = _localization(arrays, table, dataset, split, names, softness, absent)
    if located is not None:
        metrics["localization"] = located
    if any(r.group for r in arrays.records):
        metrics["worst_group"] = worst_group(arrays.predicted == arrays.labels, arrays.records)
    else:
        absent["worst_group"] = "the dataset names no groups (a manifest's column `group`)"
    metrics |= _classes(arrays, names, ious) | {"absent": absent}
    result: dict[str, Any] = without_nan(metrics)
    return result


def without_nan(value: Any) -> Any:
    """`value` as plain JSON types: NumPy scalars unwrapped, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(key): without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [without_nan(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _accuracy(
    arrays: PredictionArrays, dataset: Dataset, names: tuple[str, ...], absent: dict[str, str]
) -> dict[str, Any]:
    logits, labels = arrays.logits, arrays.labels
    correct = int((arrays.predicted == labels).sum())
    curve = calibration.reliability(calibration.confidences(logits), arrays.predicted == labels)
    majority = _majority_class(dataset, names)
    if majority is None:
        absent["majority_class_top1"] = "the dataset has no training images"
    return {
        "top1": accuracy.top_k_accuracy(logits, labels, 1),
        "top1_interval": accuracy.wilson_interval(correct, len(labels)),
        "top5": accuracy.top_k_accuracy(logits, labels, 5),
        "macro_top1": accuracy.macro_recall(accuracy.confusion_matrix(arrays.predicted, labels, len(names))),
        "majority_class_top1": None if majority is None else float((labels == majority).mean()),
        "nll": calibration.negative_log_likelihood(logits, labels),
        "ece": calibration.expected_calibration_error(curve),
    }


def _majority_class(dataset: Dataset, names: tuple[str, ...]) -> int | None:
    index = {name: i for i, name in enumerate(names)}
    training = [index[r.label] for r in dataset.split("train") if r.label in index]
    return int(np.bincount(training).argmax()) if training else None


def _calibration(
    arrays: PredictionArrays,
    table: pa.Table,
    dataset: Dataset,
    split: str,
    names: tuple[str, ...],
    absent: dict[str, str],
) -> dict[str, Any]:
    """Reliability as it is, and ECE and NLL after temperature scaling fitted on the validation split."""
    correct = arrays.predicted == arrays.labels
    curve = calibration.reliability(calibration.confidences(arrays.logits), correct)
    found: dict[str, Any] = {
        "bins": [
            {"low": i / len(curve.n), "high": (i + 1) / len(curve.n), "n": n, "confidence": c, "accuracy": a}
            for i, (n, c, a) in enumerate(zip(curve.n, curve.confidence, curve.accuracy, strict=True))
        ],
        "temperature": None,
        "nll_scaled": None,
        "ece_scaled": None,
    }
    validation = split_arrays(table, dataset, "val", names) if split != "val" else None
    if validation is None or not len(validation.labels):
        why = (
            "it would be fitted on the evaluated split itself" if split == "val" else "no predictions of the val split"
        )
        absent["calibration.temperature"] = why
        return found
    temperature = calibration.fit_temperature(validation.logits, validation.labels)
    scaled = calibration.reliability(calibration.confidences(arrays.logits, temperature), correct)
    found["temperature"] = temperature
    found["nll_scaled"] = calibration.negative_log_likelihood(arrays.logits, arrays.labels, temperature)
    found["ece_scaled"] = calibration.expected_calibration_error(scaled)
    return found


def _localization(
    arrays: PredictionArrays,
    table: pa.Table,
    dataset: Dataset,
    split: str,
    names: tuple[str, ...],
    softness: float,
    absent: dict[str, str],
) -> dict[str, Any] | None:
    rows = arrays.with_rectangle
    if not len(rows):
        absent["localization"] = "the model has no attention and so no rectangle"
        return None
    records = [arrays.records[i] for i in rows]
    if not any(r.boxes or r.mask for r in records):
        absent["localization"] = f"no image of the split {split} has a box or a mask"
        return None
    training = split_arrays(table, dataset, "train", names) if split != "train" else None
    known = training is not None and len(training.with_rectangle) > 0
    if known and training is not None:
        by_record = dict(zip((r.id for r in training.records), training.rectangles, strict=True))
    training_records = dataset.split("train")
    found = localization(
        arrays.rectangles[rows],
        records,
        training_records,
        np.array([by_record.get(r.id, np.full(5, np.nan)) for r in training_records]) if known else None,
        softness,
    )
    if found["centre_box_mean_iou"] is None:
        absent["localization.centre_box_mean_iou"] = f"no training image has {found['truth']}"
    if found["max_box_acc_v2_frozen"] is None:
        absent["localization.max_box_acc_v2_frozen"] = (
            "the evaluated split is the training split" if split == "train" else "no training predictions with a truth"
        )
    return found | {"n_without_rectangle": len(arrays.labels) - len(rows)}


def _classes(arrays: PredictionArrays, names: tuple[str, ...], ious: Floats) -> dict[str, Any]:
    """The table per class and the confusion pairs; a class without an image has null recall, not 0."""
    confusion = accuracy.confusion_matrix(arrays.predicted, arrays.labels, len(names))
    n, recall, precision = accuracy.per_class(confusion)
    known = np.isfinite(ious)
    with np.errstate(invalid="ignore"):
        counts = np.bincount(arrays.labels[known], minlength=len(names))
        mean_iou = np.bincount(arrays.labels[known], weights=ious[known], minlength=len(names)) / counts
    return {
        "n_classes": len(names),
        "n_classes_present": int((n > 0).sum()),
        "per_class": [
            {"class": name, "n": n[i], "recall": recall[i], "precision": precision[i], "mean_iou": mean_iou[i]}
            for i, name in enumerate(names)
        ],
        "confusion_pairs": [
            {"label": names[true], "predicted": names[guess], "count": count, "share": count / n[true]}
            for true, guess, count in accuracy.confusion_pairs(confusion)
        ],
    }
