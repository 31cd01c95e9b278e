"""`evaluation/metrics.json`: all metrics of one split, from the predictions table and the dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from rsam_app.config import EvaluateConfig, Taxonomy
from rsam_app.data.records import Dataset
from rsam_app.evaluation.metrics import accuracy, calibration
from rsam_app.evaluation.metrics.hierarchy import roll_up_figures, taxonomy_figures, threshold_to_apply
from rsam_app.evaluation.metrics.intervals import bootstrap_interval
from rsam_app.evaluation.metrics.localization import localization
from rsam_app.evaluation.metrics.macro import balanced_accuracy, macro_auroc, macro_f1
from rsam_app.evaluation.metrics.prediction_arrays import PredictionArrays, split_arrays
from rsam_app.evaluation.metrics.selective import selective_figures
from rsam_app.evaluation.metrics.soft_mask_scores import DEFAULT_SOFTNESS
from rsam_app.geometry.types import Integers
from rsam_app.model.calibration import calibrated_probabilities
from rsam_app.system.errors import UserError


def evaluate_predictions(
    table: pa.Table,
    dataset: Dataset,
    split: str,
    classes: Sequence[str] | None = None,
    softness: float = DEFAULT_SOFTNESS,
    sure_accuracy: float = EvaluateConfig().sure_accuracy,
) -> dict[str, Any]:
    """Return the content of `evaluation/metrics.json` for the rows of one split; fractions, not percent.

    Other splits in `table` are used if they are present: `val` to fit the temperature and the threshold at which
    answers are sure, `train` to freeze MaxBoxAccV2's thresholds. `classes` are the model's, in the order of its logits
    (default: the dataset's). `softness` is that of the soft mask's edge, a share of the image's side; `sure_accuracy`
    the pipeline's.

    JSON-serialisable and free of NaN: a missing figure is null, and `absent` gives the reason by key; `localization`
    is left out if there is none, and `taxonomy` if the dataset has none. Raises `UserError` for a split without
    predictions, or a table that does not fit.
    """
    names = tuple(classes if classes is not None else dataset.classes)
    arrays_of = partial(split_arrays, table, dataset, classes=names)
    arrays, validation = arrays_of(split), None if split == "val" else arrays_of("val")
    if not len(arrays.labels):
        present = ", ".join(sorted(set(table.column("split").to_pylist()))) or "none"
        raise UserError(
            f"{dataset.name}: there are no predictions for the split {split!r} (have: {present}).\n"
            "Choose a split that has images with evaluate.split, or run `rsam predict` for it first."
        )
    absent: dict[str, str] = {}
    confusion = accuracy.confusion_matrix(arrays.predicted, arrays.labels, len(names))
    curve = calibration.reliability(calibration.confidences(arrays.logits), arrays.predicted == arrays.labels)
    metrics: dict[str, Any] = {
        "split": split,
        "n": len(arrays.labels),
        "n_without_prediction": len({r.id for r in dataset.split(split)} - {r.id for r in arrays.records}),
        **_accuracy(arrays, dataset, names, confusion, absent),
        **_macro(arrays, len(names), absent),
        "selective": selective_figures(calibration.confidences(arrays.logits), arrays.predicted == arrays.labels),
        "ece": calibration.expected_calibration_error(curve),
        "calibration": _calibration(arrays, validation, curve, absent),
    }
    if (taxonomy := dataset.taxonomy) is not None:
        if names != taxonomy.classes:
            raise ValueError(f"{dataset.name}: the taxonomy is of other classes than the logits")
        temperature = metrics["calibration"]["temperature"]
        metrics["taxonomy"] = {
            **taxonomy_figures(taxonomy, arrays.predicted, arrays.labels),
            "roll_up": _roll_up(taxonomy, arrays, validation, temperature, sure_accuracy, absent),
        }
    located = _localization(arrays, arrays_of, dataset, split, softness, absent)
    if located is not None:
        metrics["localization"] = located
    if any(r.group for r in arrays.records):
        metrics["worst_group"] = accuracy.worst_group(arrays.predicted == arrays.labels, arrays.records)
    else:
        absent["worst_group"] = "the dataset has no groups (column `group` of a manifest)"
    metrics |= _classes(arrays, names, confusion) | {"absent": absent}
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
    arrays: PredictionArrays, dataset: Dataset, names: tuple[str, ...], confusion: Integers, absent: dict[str, str]
) -> dict[str, Any]:
    logits, labels = arrays.logits, arrays.labels
    majority = _majority_class(dataset, names)
    if majority is None:
        absent["majority_class_top1"] = "the dataset has no training images"
    return {
        "top1": accuracy.top_k_accuracy(logits, labels, 1),
        "top1_interval": accuracy.wilson_interval(int((arrays.predicted == labels).sum()), len(labels)),
        "top5": accuracy.top_k_accuracy(logits, labels, 5),
        "macro_top1": accuracy.macro_recall(confusion),
        "majority_class_top1": None if majority is None else float((labels == majority).mean()),
        "nll": calibration.negative_log_likelihood(logits, labels),
    }


def _macro(arrays: PredictionArrays, classes: int, absent: dict[str, str]) -> dict[str, Any]:
    """Macro F1, balanced accuracy and macro AUROC, each with its 95 % interval."""
    labels, predicted = arrays.labels, arrays.predicted
    figures: dict[str, Any] = {}
    for name, figure in (("macro_f1", macro_f1), ("balanced_accuracy", balanced_accuracy)):
        of_rows = partial(_of_rows, figure, labels, predicted, classes)
        figures[name] = figure(labels, predicted, classes)
        figures[f"{name}_interval"] = bootstrap_interval(of_rows, len(labels))
    figures["macro_auroc"], figures["macro_auroc_interval"] = macro_auroc(softmax(arrays.logits, axis=1), labels)
    if math.isnan(figures["macro_auroc"]):
        absent["macro_auroc"] = "all images are of one class"
    return figures


def _of_rows(
    figure: Callable[[Integers, Integers, int], float],
    labels: Integers,
    predicted: Integers,
    classes: int,
    rows: Integers,
) -> float:
    return figure(labels[rows], predicted[rows], classes)


def _majority_class(dataset: Dataset, names: tuple[str, ...]) -> int | None:
    index = {name: i for i, name in enumerate(names)}
    training = [index[r.label] for r in dataset.split("train") if r.label in index]
    return int(np.bincount(training).argmax()) if training else None


def _calibration(
    arrays: PredictionArrays,
    validation: PredictionArrays | None,
    curve: calibration.Reliability,
    absent: dict[str, str],
) -> dict[str, Any]:
    """Reliability as trained, and ECE and NLL after temperature scaling fitted on the validation split."""
    figures: dict[str, Any] = {
        "bins": [
            {"low": i / len(curve.n), "high": (i + 1) / len(curve.n), "n": n, "confidence": c, "accuracy": a}
            for i, (n, c, a) in enumerate(zip(curve.n, curve.confidence, curve.accuracy, strict=True))
        ],
        "temperature": None,
        "nll_scaled": None,
        "ece_scaled": None,
    }
    if validation is None:
        absent["calibration.temperature"] = "it would be fitted on the evaluated split itself"
        return figures
    temperature, why_not = calibration.temperature_to_apply(validation.logits, validation.labels)
    if temperature is None:
        absent["calibration.temperature"] = why_not
        return figures
    confidence = calibration.confidences(arrays.logits, temperature)
    scaled = calibration.reliability(confidence, arrays.predicted == arrays.labels)
    figures["temperature"] = temperature
    figures["nll_scaled"] = calibration.negative_log_likelihood(arrays.logits, arrays.labels, temperature)
    figures["ece_scaled"] = calibration.expected_calibration_error(scaled)
    return figures


def _roll_up(
    taxonomy: Taxonomy,
    arrays: PredictionArrays,
    validation: PredictionArrays | None,
    temperature: float | None,
    accuracy: float,
    absent: dict[str, str],
) -> dict[str, Any] | None:
    """Answers rolled up at the threshold chosen on the validation split."""
    threshold, why_not = None, "the threshold would be chosen on the evaluated split itself"
    if validation is not None:
        held_out = calibrated_probabilities(validation.logits, temperature)
        threshold, why_not = threshold_to_apply(held_out, validation.labels, taxonomy, accuracy)
    if threshold is None:
        absent["taxonomy.roll_up"] = why_not
        return None
    probabilities = calibrated_probabilities(arrays.logits, temperature)
    return {"chosen_for": accuracy, **roll_up_figures(taxonomy, threshold, probabilities, arrays.labels)}


def _localization(
    arrays: PredictionArrays,
    arrays_of: Callable[[str], PredictionArrays],
    dataset: Dataset,
    split: str,
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
    training_records, training_rectangles = dataset.split("train"), None
    training = arrays_of("train") if split != "train" else None
    if training is not None and len(training.with_rectangle):
        by_id = dict(zip((r.id for r in training.records), training.rectangles, strict=True))
        training_rectangles = np.array([by_id.get(r.id, np.full(5, np.nan)) for r in training_records])
    figures = localization(arrays.rectangles[rows], records, training_records, training_rectangles, softness)
    for part, source in (("", figures["boxes_from"]), ("masks.", "masks"), ("own_boxes.", "boxes")):
        found = figures.get(part[:-1]) if part else figures
        if found and found["centre_box_mean_iou"] is None:
            absent[f"localization.{part}centre_box_mean_iou"] = f"no training image has {source}"
    if figures["max_box_acc_v2_frozen"] is None:
        absent["localization.max_box_acc_v2_frozen"] = (
            "the evaluated split is the training split" if split == "train" else "no training predictions with a truth"
        )
    return figures | {"n_without_rectangle": len(arrays.labels) - len(rows)}


def _classes(arrays: PredictionArrays, names: tuple[str, ...], confusion: Integers) -> dict[str, Any]:
    """The table per class and the confusion pairs; the recall of a class without images is null, not 0."""
    n, recall, precision = accuracy.per_class(confusion)
    ious = arrays.ious()
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
