"""Localization of soft maps such as Grad-CAM's, by the same measures as RSAM's rectangles and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rsam_app.data.records import Record
from rsam_app.evaluation.inference.grad_cam import THRESHOLD, Maps, map_box, upsample
from rsam_app.evaluation.metrics.ground_truth import TruthKind, image_sizes, mean_box, truth_kinds
from rsam_app.evaluation.metrics.localization import (
    boxes_first,
    class_mean,
    energy_figures,
    max_box_figures,
    overlap_figures,
    pixel_figures,
)
from rsam_app.evaluation.metrics.rectangles import RectangleScores, score_rectangles
from rsam_app.evaluation.metrics.soft_mask_scores import GRID, score_maps
from rsam_app.geometry.types import Floats


def map_localization(
    maps: Maps, records: Sequence[Record], training_records: Sequence[Record], threshold: float = THRESHOLD
) -> dict[str, Any]:
    """Localization of maps `(N, H, W)`, ≥ 0, over whole images; see `localization` for the shared figures.

    Boxes lead as in `localization`, with `masks` and `own_boxes` below them. The box of a map is that of its largest
    part above `threshold` of its maximum. MaxBoxAccV2 is over all thresholds, the best one being an oracle of these
    images. The pointing game uses the map's maximum. `n_empty` maps have no positive value, and so no box. Raises
    `UserError` if a mask cannot be read, `ValueError` if no record has ground truth.
    """
    on_grid = upsample(maps, GRID)
    boxes = boxes_of_maps(on_grid, image_sizes(records), threshold)
    results = {kind: _figures(on_grid, boxes, records, kind, training_records) for kind in truth_kinds(records)}
    return boxes_first(results, records, {"n_empty": int((maps.max(axis=(1, 2)) <= 0).sum()), "threshold": threshold})


def _figures(
    on_grid: Maps, boxes: Floats, records: Sequence[Record], kind: TruthKind, training_records: Sequence[Record]
) -> dict[str, Any]:
    scores = score_rectangles(boxes, records, kind, mean_box(training_records, kind))
    if not len(scores.rows):
        return {}
    soft = score_maps(on_grid, records, kind)
    return {
        "n": len(scores.rows),
        "n_without_truth": len(records) - len(scores.rows),
        **_upright_figures(scores),
        **(pixel_figures(soft) if kind == "masks" else max_box_figures(soft, None)),
        "pointing_game": _pointing_game(on_grid, records, scores, kind),
        **energy_figures(soft),
    }


def boxes_of_maps(on_grid: Maps, sizes: Floats, threshold: float) -> Floats:
    """Boxes of maps (see `map_box`) as upright rectangles `(N, 5)` in pixels of images of `sizes` `(N, 2)`."""
    edges = np.stack([map_box(m, threshold) for m in on_grid]) / on_grid.shape[1] * np.tile(sizes, 2)
    centre, extent = (edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]
    return np.concatenate([centre, extent, np.zeros((len(edges), 1))], axis=1)


def _upright_figures(scores: RectangleScores) -> dict[str, float | None]:
    rotated = {"mean_rotated_iou", "mean_on_object", "mean_object_covered"}  # an upright box has no angle
    return {key: value for key, value in overlap_figures(scores).items() if key not in rotated}


def _pointing_game(on_grid: Maps, records: Sequence[Record], scores: RectangleScores, kind: TruthKind) -> float:
    rows, columns = np.unravel_index(on_grid.reshape(len(on_grid), -1).argmax(axis=1), on_grid.shape[1:])
    peaks = (np.stack([columns, rows], axis=1) + 0.5) / on_grid.shape[1] * image_sizes(records)
    points = np.concatenate([peaks, np.zeros((len(peaks), 3))], axis=1)
    pointed = score_rectangles(points, records, kind, None).pointed
    classes = np.unique([records[int(row)].label for row in scores.rows], return_inverse=True)[1]
    return class_mean(pointed, classes)
