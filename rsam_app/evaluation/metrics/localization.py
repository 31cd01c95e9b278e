"""Localization of the rectangles, each figure with its baselines, because photographed objects tend to be centred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.ground_truth import TruthKind, box_agreement, image_sizes, mean_box, truth_kinds
from rsam_app.evaluation.metrics.max_box_accuracy import OVERLAPS, max_box_accuracy
from rsam_app.evaluation.metrics.rectangles import RectangleScores, degeneracy, score_rectangles
from rsam_app.evaluation.metrics.soft_mask_scores import (
    DEFAULT_SOFTNESS,
    SoftMaskScores,
    frozen_thresholds,
    pixel_average_precision,
    score_soft_masks,
)
from rsam_app.geometry.types import Floats, Integers

SOURCE: dict[TruthKind, str] = {"boxes": "boxes", "mask_boxes": "masks"}
"""`boxes_from` by leading kind."""
NAME: dict[TruthKind, str] = {"boxes": "own_boxes", "masks": "masks"}
"""Key of the figures of a kind that does not lead."""


def localization(
    rectangles: Floats,
    records: Sequence[Record],
    training_records: Sequence[Record],
    training_rectangles: Floats | None = None,
    softness: float = DEFAULT_SOFTNESS,
) -> dict[str, Any]:
    """Localization of rectangles `(N, 5)` in pixels of their records; fractions in [0, 1] unless noted.

    Boxes lead: the figures at the top are those with boxes (`truth` is `boxes`), because no rectangle can match a
    mask's outline. `boxes_from` names their source, one for all records and never a mix (see `truth_kinds`): `boxes`,
    the records' own, or `masks`, the boxes around the masks. With masks, `masks` has the same figures with their
    pixels. Own boxes that do not lead, as those of a part do not, have theirs under `own_boxes`. `box_agreement` is the
    mean IoU of own boxes with those around the masks, null if no record has both. `n` records have the respective truth
    and are scored, `n_without_truth` do not. Missing figures are null: those of the centre box without true boxes of
    that source in `training_records`, `max_box_acc_v2_frozen` without `training_rectangles`
    `(len(training_records), 5)`, whose rows are NaN for images without a prediction.

    `mean_iou` and `share_iou_50` (share of IoUs ≥ .5) are of R's upright box with boxes, of R's pixels with masks;
    `mean_rotated_iou`, `mean_on_object` |R∩G|/|R| and `mean_object_covered` |R∩G|/|G| are of R itself. `energy_inside`
    is the soft mask's share inside the object, beside `area_share`, the object's share of the image. MaxBoxAccV2
    compares boxes, and is only there with boxes; `mean_upright_iou` and `px_ap` are only there with masks.

    `softness` of the rendered mask's edge is a share of the image's side. Raises `UserError` if a mask cannot be read,
    `ValueError` if no record has ground truth.
    """
    results = {
        kind: _figures_by_kind(rectangles, records, kind, training_records, training_rectangles, softness)
        for kind in truth_kinds(records)
    }
    return boxes_first(results, records, {"degeneracy": degeneracy(rectangles, image_sizes(records))})


def boxes_first(
    results: Mapping[TruthKind, dict[str, Any]], records: Sequence[Record], shared: Mapping[str, Any]
) -> dict[str, Any]:
    """Figures by kind, in the order of `truth_kinds` and empty if no record is scored, as `localization` returns them.

    `shared` figures need no ground truth. Raises `ValueError` if all are empty.
    """
    scored = {kind: figures for kind, figures in results.items() if figures}
    if not scored:
        raise ValueError("no record has a box or a mask that is not empty")
    leading, *others = scored  # masks never lead: a mask that is scored has a box
    return {
        "truth": "boxes",
        "boxes_from": SOURCE[leading],
        "box_agreement": box_agreement(records),
        **scored[leading],
        **shared,
        **{NAME[kind]: scored[kind] for kind in others},
    }


def leading_kind(located: Mapping[str, Any]) -> TruthKind:
    """The kind of ground truth of the headline figures in what `localization` returns."""
    return "boxes" if located["boxes_from"] == "boxes" else "mask_boxes"


def _figures_by_kind(
    rectangles: Floats,
    records: Sequence[Record],
    kind: TruthKind,
    training_records: Sequence[Record],
    training_rectangles: Floats | None,
    softness: float,
) -> dict[str, Any]:
    centre_box = mean_box(training_records, kind)
    scores = score_rectangles(rectangles, records, kind, centre_box)
    if not len(scores.rows):
        return {}
    soft = score_soft_masks(rectangles, records, kind, softness)
    classes = np.unique([records[int(row)].label for row in scores.rows], return_inverse=True)[1]
    figures = {
        "n": len(scores.rows),
        "n_without_truth": len(records) - len(scores.rows),
        **overlap_figures(scores),
        "centre_box": None if centre_box is None else [round(float(v), 4) for v in centre_box],
        "pointing_game": class_mean(scores.pointed, classes),
        "centre_box_pointing_game": None if centre_box is None else class_mean(scores.centre_box_pointed, classes),
        **energy_figures(soft),
    }
    if kind == "masks":
        return figures | {"mean_upright_iou": float(scores.upright_iou.mean()), **pixel_figures(soft)}
    return figures | max_box_figures(soft, _training_thresholds(training_rectangles, training_records, kind, softness))


def overlap_figures(scores: RectangleScores) -> dict[str, float | None]:
    """Those means of `localization` that need no soft mask."""

    def finite(value: Any) -> float | None:
        return float(value) if np.isfinite(value) else None

    has_centre = bool(np.isfinite(scores.centre_box_iou).all())
    return {
        "mean_iou": float(scores.iou.mean()),
        "share_iou_50": float((scores.iou >= 0.5).mean()),
        "centre_box_mean_iou": finite(scores.centre_box_iou.mean()),
        "centre_box_share_iou_50": float((scores.centre_box_iou >= 0.5).mean()) if has_centre else None,
        "full_image_mean_iou": float(scores.full_image_iou.mean()),
        "full_image_share_iou_50": float((scores.full_image_iou >= 0.5).mean()),
        "mean_rotated_iou": float(scores.rotated_iou.mean()),
        "mean_on_object": float(scores.on_object.mean()),
        "mean_object_covered": float(scores.covered.mean()),
    }


def max_box_figures(soft: SoftMaskScores, thresholds: Integers | None) -> dict[str, Any]:
    """Figures of MaxBoxAccV2, also at the training split's thresholds `(3,)`, if given."""
    accuracy, chosen = max_box_accuracy(soft.best_iou)
    figures: dict[str, Any] = {
        "max_box_acc_v2": float(accuracy.mean()),
        "max_box_acc": {f"{overlap:.1f}": float(a) for overlap, a in zip(OVERLAPS, accuracy, strict=True)},
        "max_box_thresholds": frozen_thresholds(chosen),
        "max_box_acc_v2_frozen": None,
        "max_box_thresholds_frozen": None,
    }
    if thresholds is not None:
        figures["max_box_acc_v2_frozen"] = float(max_box_accuracy(soft.best_iou, thresholds)[0].mean())
        figures["max_box_thresholds_frozen"] = frozen_thresholds(thresholds)
    return figures


def pixel_figures(soft: SoftMaskScores) -> dict[str, float]:
    """PxAP, which needs masks."""
    return {"px_ap": pixel_average_precision(soft.true_pixels, soft.all_pixels)}


def energy_figures(soft: SoftMaskScores) -> dict[str, float | None]:
    """Mean share of a soft mask inside the object, and the object's mean share of the image."""
    known = np.isfinite(soft.energy_inside).any()
    return {
        "energy_inside": float(np.nanmean(soft.energy_inside)) if known else None,
        "area_share": float(soft.area_share.mean()),
    }


def _training_thresholds(
    rectangles: Floats | None, records: Sequence[Record], kind: TruthKind, softness: float
) -> Integers | None:
    if rectangles is None:
        return None
    known = np.flatnonzero(np.isfinite(rectangles).all(axis=1))
    soft = score_soft_masks(rectangles[known], [records[int(i)] for i in known], kind, softness)
    return max_box_accuracy(soft.best_iou)[1] if len(soft.best_iou) else None


def class_mean(hits: Floats, classes: Integers) -> float:
    """The mean over classes of each class's share of hits."""
    return float((np.bincount(classes, weights=hits) / np.bincount(classes)).mean())
