"""Localisation of any soft maps, such as Grad-CAM's, by the same measures as RSAM's rectangles and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rsam_app.data.records import Record
from rsam_app.evaluation.inference.grad_cam import THRESHOLD, Maps, map_box, upsample
from rsam_app.evaluation.metrics.ground_truth import image_sizes, mean_box, truth_kinds
from rsam_app.evaluation.metrics.localization import class_mean, max_box_figures, overlap_figures
from rsam_app.evaluation.metrics.rectangles import RectangleScores, score_rectangles
from rsam_app.evaluation.metrics.soft_mask_scores import GRID, mask_pixels, pixel_average_precision, score_maps
from rsam_app.geometry.types import Floats


def map_localization(
    maps: Maps, records: Sequence[Record], training_records: Sequence[Record], threshold: float = THRESHOLD
) -> dict[str, Any]:
    """Localisation of maps `(N, H, W)`, ≥ 0, that lie over the whole of their images; see `localization` for the
    figures that both have.

    Boxes are those of the largest part above `threshold` of the map's maximum, the same for every image; MaxBoxAccV2 is
    over all thresholds, the best one being an oracle of these images. The pointing game is played with the map's
    maximum. `px_ap` is of the masks where there are any. `n_empty` maps have no positive value, and so no box. Raises
    `UserError` where a mask cannot be read, `ValueError` where no record has a truth.
    """
    on_grid = upsample(maps, GRID)
    sizes = image_sizes(records)
    for kind in truth_kinds(records):
        centre_box = mean_box(training_records, kind)
        scores = score_rectangles(boxes_of_maps(on_grid, sizes, threshold), records, kind, centre_box)
        if not len(scores.rows):
            continue
        soft = score_maps(on_grid, records, kind)
        found = {
            "truth": kind,
            "n": len(scores.rows),
            "n_without_truth": len(records) - len(scores.rows),
            "n_empty": int((maps.max(axis=(1, 2)) <= 0).sum()),
            "threshold": threshold,
            **_upright_figures(scores),
            **max_box_figures(soft, None),
            "pointing_game": _pointing(on_grid, records, scores, sizes, kind),
            "energy_inside": float(np.nanmean(soft.energy_inside)) if np.isfinite(soft.energy_inside).any() else None,
            "area_share": float(soft.area_share.mean()),
        }
        true_pixels, all_pixels = mask_pixels(on_grid, records)
        if true_pixels.any():
            found["px_ap"] = pixel_average_precision(true_pixels, all_pixels)
        return found
    raise ValueError("no record has a box or a mask that is not empty")


def boxes_of_maps(on_grid: Maps, sizes: Floats, threshold: float) -> Floats:
    """The maps' boxes (see `map_box`) as upright rectangles `(N, 5)` in pixels of images of `sizes` `(N, 2)`."""
    edges = np.stack([map_box(m, threshold) for m in on_grid]) / on_grid.shape[1] * np.tile(sizes, 2)
    centre, extent = (edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]
    return np.concatenate([centre, extent, np.zeros((len(edges), 1))], axis=1)


def _upright_figures(scores: RectangleScores) -> dict[str, float | None]:
    upright = {"mean_rotated_iou", "mean_on_object", "mean_object_covered"}  # a box has no angle to gain by
    return {key: value for key, value in overlap_figures(scores).items() if key not in upright}


def _pointing(on_grid: Maps, records: Sequence[Record], scores: RectangleScores, sizes: Floats, kind: Any) -> float:
    rows, columns = np.unravel_index(on_grid.reshape(len(on_grid), -1).argmax(axis=1), on_grid.shape[1:])
    peaks = (np.stack([columns, rows], axis=1) + 0.5) / on_grid.shape[1] * sizes
    points = np.concatenate([peaks, np.zeros((len(peaks), 3))], axis=1)
    pointed = score_rectangles(points, records, kind, None).pointed
    classes = np.unique([records[int(row)].label for row in scores.rows], return_inverse=True)[1]
    return class_mean(pointed, classes)
