"""Localisation of soft maps such as Grad-CAM's, by the same measures as RSAM's rectangles and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rsam_app.data.records import Record
from rsam_app.evaluation.inference.grad_cam import THRESHOLD, Maps, map_box, upsample
from rsam_app.evaluation.metrics.ground_truth import image_sizes, mean_box, truth_kinds
from rsam_app.evaluation.metrics.localization import class_mean, energy_figures, max_box_figures, overlap_figures
from rsam_app.evaluation.metrics.rectangles import RectangleScores, score_rectangles
from rsam_app.evaluation.metrics.soft_mask_scores import GRID, pixel_average_precision, score_maps
from rsam_app.geometry.types import Floats


def map_localization(
    maps: Maps, records: Sequence[Record], training_records: Sequence[Record], threshold: float = THRESHOLD
) -> dict[str, Any]:
    """Localisation of maps `(N, H, W)`, ≥ 0, over whole images; see `localization` for the shared figures.

    The box of a map is that of its largest part above `threshold` of its maximum. MaxBoxAccV2 is over all thresholds,
    the best one being an oracle of these images. The pointing game uses the map's maximum. `px_ap` is there with masks.
    `n_empty` maps have no positive value, and so no box. Raises `UserError` if a mask cannot be read, `ValueError` if
    no record has ground truth.
    """
    on_grid = upsample(maps, GRID)
    sizes = image_sizes(records)
    for kind in truth_kinds(records):
        centre_box = mean_box(training_records, kind)
        scores = score_rectangles(boxes_of_maps(on_grid, sizes, threshold), records, kind, centre_box)
        if not len(scores.rows):
            continue
        soft = score_maps(on_grid, records, kind)
        figures = {
            "truth": kind,
            "n": len(scores.rows),
            "n_without_truth": len(records) - len(scores.rows),
            "n_empty": int((maps.max(axis=(1, 2)) <= 0).sum()),
            "threshold": threshold,
            **_upright_figures(scores),
            **max_box_figures(soft, None),
            "pointing_game": _pointing_game(on_grid, records, scores, sizes, kind),
            **energy_figures(soft),
        }
        if kind == "masks":
            figures["px_ap"] = pixel_average_precision(soft.true_pixels, soft.all_pixels)
        return figures
    raise ValueError("no record has a box or a mask that is not empty")


def boxes_of_maps(on_grid: Maps, sizes: Floats, threshold: float) -> Floats:
    """Boxes of maps (see `map_box`) as upright rectangles `(N, 5)` in pixels of images of `sizes` `(N, 2)`."""
    edges = np.stack([map_box(m, threshold) for m in on_grid]) / on_grid.shape[1] * np.tile(sizes, 2)
    centre, extent = (edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]
    return np.concatenate([centre, extent, np.zeros((len(edges), 1))], axis=1)


def _upright_figures(scores: RectangleScores) -> dict[str, float | None]:
    rotated = {"mean_rotated_iou", "mean_on_object", "mean_object_covered"}  # an upright box has no angle
    return {key: value for key, value in overlap_figures(scores).items() if key not in rotated}


def _pointing_game(
    on_grid: Maps, records: Sequence[Record], scores: RectangleScores, sizes: Floats, kind: Any
) -> float:
    rows, columns = np.unravel_index(on_grid.reshape(len(on_grid), -1).argmax(axis=1), on_grid.shape[1:])
    peaks = (np.stack([columns, rows], axis=1) + 0.5) / on_grid.shape[1] * sizes
    points = np.concatenate([peaks, np.zeros((len(peaks), 3))], axis=1)
    pointed = score_rectangles(points, records, kind, None).pointed
    classes = np.unique([records[int(row)].label for row in scores.rows], return_inverse=True)[1]
    return class_mean(pointed, classes)
