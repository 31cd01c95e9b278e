"""Comparison of two runs on the same images: answers, calibration, rectangles, and the images that changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rsam_app.evaluation.metrics import accuracy, calibration
from rsam_app.evaluation.metrics.attention_truth import BoxSource
from rsam_app.evaluation.metrics.ground_truth import image_sizes
from rsam_app.evaluation.metrics.paired import mcnemar, paired_difference
from rsam_app.evaluation.metrics.prediction_arrays import PredictionArrays
from rsam_app.evaluation.metrics.summary import without_nan
from rsam_app.geometry.overlap import box_iou, upright_edges
from rsam_app.geometry.types import Floats, Integers, Mask

MOVED = 0.2
"""Change of an image's IoU with the truth from which its rectangle counts as moved off, or onto, the object."""

CHANGES = ("broken", "fixed", "moved off the object", "moved onto the object")
"""How an image changed: right before and wrong now, wrong before and right now, and where the rectangle went."""


def compare_arrays(
    first: PredictionArrays, second: PredictionArrays, sources: Sequence[BoxSource | None], classes: Sequence[str]
) -> dict[str, Any]:
    """Compare two runs on the same rows: the same images and labels, in one order; differences are second - first.

    The records have the boxes and `sources` of `with_true_boxes`. IoUs are of upright boxes, clipped to the
    image. Each figure has `first`, `second` and `difference`; `top1` and `attention` also `interval`, the 95 % interval
    of a paired t-test over images. `changed` lists the images of each change, a figure that is missing is null, and
    `absent` gives the reason. JSON-serialisable and free of NaN.
    """
    right = first.predicted == first.labels, second.predicted == second.labels
    ious, agreement = (first.ious(), second.ious()), _agreement(first, second)
    ids = [record.id for record in second.records]
    absent: dict[str, str] = {}
    figures: dict[str, Any] = {
        "n": len(ids),
        "top1": _paired(right[0].astype(float), right[1].astype(float), ids),
        "macro_top1": _pair(*(_macro(arrays, len(classes)) for arrays in (first, second))),
        "nll": _pair(*(calibration.negative_log_likelihood(a.logits, a.labels) for a in (first, second))),
        "ece": _pair(*(_calibration_error(a, hits) for a, hits in zip((first, second), right, strict=True))),
        "worst_class": _pair_of_worst("recall", *(_worst_class(a, classes) for a in (first, second))),
        "worst_group": _worst_group(first, second, absent),
        "mcnemar": _mcnemar(*right),
        "attention": _attention(first, second, ious, sources, ids, absent),
        "agreement": _mean(agreement),
        "per_class": _per_class(first, second, ious, agreement, classes),
        "changed": _changed(first, second, ious, right, classes),
        "absent": absent,
    }
    result: dict[str, Any] = without_nan(figures)
    return result


def attention_limit(attention: Mapping[str, Any], max_drop: float) -> dict[str, Any]:
    """Whether the mean IoU of a comparison's `attention` fell by more than `max_drop`, up to rounding: `exceeded`."""
    drop = -attention["difference"]
    return {"max_drop": max_drop, "drop": drop, "exceeded": bool(drop > max_drop + 1e-9)}


def change_by_id(figures: Mapping[str, Any]) -> dict[str, str]:
    """The change of each changed image; that of its class comes before that of its rectangle."""
    changes: dict[str, str] = {}
    for change in CHANGES:
        for image in figures["changed"][change]:
            changes.setdefault(image["id"], change)
    return changes


def _pair(first: float, second: float) -> dict[str, Any]:
    return {"first": first, "second": second, "difference": second - first}


def _paired(first: Floats, second: Floats, ids: Sequence[str]) -> dict[str, Any]:
    """As `_pair`, of means over images, with the interval of the difference; null for a single image."""
    difference = paired_difference(dict(zip(ids, second, strict=True)), dict(zip(ids, first, strict=True)))
    interval = None if difference is None else [difference.low, difference.high]
    return {**_pair(first.mean(), second.mean()), "interval": interval}


def _pair_of_worst(share: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return {"first": first, "second": second, "difference": second[share] - first[share]}


def _mcnemar(first: Mask, second: Mask) -> dict[str, Any]:
    fixed, broken = int((second & ~first).sum()), int((first & ~second).sum())
    return {"fixed": fixed, "broken": broken, "p": mcnemar(fixed, broken)}


def _macro(arrays: PredictionArrays, classes: int) -> float:
    return accuracy.macro_recall(accuracy.confusion_matrix(arrays.predicted, arrays.labels, classes))


def _calibration_error(arrays: PredictionArrays, right: Mask) -> float:
    curve = calibration.reliability(calibration.confidences(arrays.logits), right.astype(np.int64))
    return calibration.expected_calibration_error(curve)


def _worst_class(arrays: PredictionArrays, classes: Sequence[str]) -> dict[str, Any]:
    """The class with the lowest recall; of equal ones that with the most images."""
    n, recall, _ = accuracy.per_class(accuracy.confusion_matrix(arrays.predicted, arrays.labels, len(classes)))
    worst = int(np.lexsort((-n, np.where(n > 0, recall, np.inf)))[0])
    return {"class": classes[worst], "n": n[worst], "recall": recall[worst]}


def _worst_group(first: PredictionArrays, second: PredictionArrays, absent: dict[str, str]) -> dict[str, Any] | None:
    if not any(record.group for record in second.records):
        absent["worst_group"] = "the dataset has no groups (column `group` of a manifest)"
        return None
    found = [accuracy.worst_group(a.predicted == a.labels, a.records) for a in (first, second)]
    worst = [
        {"label": f["worst_label"], "group": f["worst_group"], "n": f["worst_n"], "top1": f["worst"]} for f in found
    ]
    return _pair_of_worst("top1", *worst)


def _agreement(first: PredictionArrays, second: PredictionArrays) -> Floats:
    """IoU `(N,)` of the two runs' upright boxes; NaN if one is missing."""
    sizes = image_sizes(second.records)
    rows = np.intersect1d(first.with_rectangle, second.with_rectangle)
    ious = np.full(len(sizes), np.nan)
    ious[rows] = box_iou(*(upright_edges(a.rectangles[rows], sizes[rows]) for a in (first, second)))
    return ious


def _attention(
    first: PredictionArrays,
    second: PredictionArrays,
    ious: tuple[Floats, Floats],
    sources: Sequence[BoxSource | None],
    ids: Sequence[str],
    absent: dict[str, str],
) -> dict[str, Any] | None:
    rows = [int(row) for row in np.flatnonzero(np.isfinite(ious).all(axis=0))]
    if not rows:
        absent["attention"] = _no_attention(first, second, sources)
        return None
    counts = Counter(sources[row] for row in rows)
    figures = _paired(ious[0][rows], ious[1][rows], [ids[row] for row in rows])
    return {"n": len(rows), "boxes_from": dict(counts), **figures}


def _no_attention(first: PredictionArrays, second: PredictionArrays, sources: Sequence[BoxSource | None]) -> str:
    for name, arrays in (("first", first), ("second", second)):
        if not len(arrays.with_rectangle):
            return f"the model of the {name} run has no attention and so no rectangle"
    if not any(sources):
        return "no shared image has a box, a mask or a target of the reviewer"
    return "no shared image has a truth and a rectangle of both runs"


def _per_class(
    first: PredictionArrays,
    second: PredictionArrays,
    ious: tuple[Floats, Floats],
    agreement: Floats,
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """A row for each class with shared images, in the order of the classes."""
    known = np.isfinite(ious).all(axis=0)
    rows = []
    for number, name in enumerate(classes):
        own = first.labels == number
        if own.any():
            recall = _pair(*(float((a.predicted[own] == number).mean()) for a in (first, second)))
            located = None if not (own & known).any() else _pair(*(float(i[own & known].mean()) for i in ious))
            row = {"class": name, "n": int(own.sum()), "recall": recall, "iou": located}
            rows.append({**row, "agreement": _mean(agreement[own])})
    return rows


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _changed(
    first: PredictionArrays,
    second: PredictionArrays,
    ious: tuple[Floats, Floats],
    right: tuple[Mask, Mask],
    classes: Sequence[str],
) -> dict[str, list[dict[str, Any]]]:
    """The images of each change: the most confident answers of the second run, or the largest moves, first."""
    sure = tuple(calibration.confidences(arrays.logits) for arrays in (first, second))
    moved = np.nan_to_num(ious[1] - ious[0])
    chosen: list[tuple[Mask, Floats]] = [
        (right[0] & ~right[1], -sure[1]),
        (~right[0] & right[1], -sure[1]),
        (moved <= -MOVED, moved),
        (moved >= MOVED, -moved),
    ]

    def entry(row: int) -> dict[str, Any]:
        answers = {
            name: {"predicted": classes[a.predicted[row]], "confidence": p[row], "iou": i[row]}
            for name, a, p, i in zip(("first", "second"), (first, second), sure, ious, strict=True)
        }
        return {"id": second.records[row].id, "label": classes[second.labels[row]], **answers}

    return {
        change: [entry(int(row)) for row in _in_order(mask, order)]
        for change, (mask, order) in zip(CHANGES, chosen, strict=True)
    }


def _in_order(mask: Mask, order: Floats) -> Integers:
    rows = np.flatnonzero(mask)
    return rows[np.argsort(order[rows], kind="stable")]
