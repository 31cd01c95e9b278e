"""Scores of soft masks: MaxBoxAccV2's overlaps, the energy inside the object, and PxAP.

Soft masks are rendered from rectangles, a few images at a time, on a grid over the whole image; other maps on such a
grid, e.g. Grad-CAM's, are scored the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.ground_truth import TruthKind, image_sizes, object_mask, true_edges
from rsam_app.evaluation.metrics.max_box_accuracy import LEVELS, best_iou_by_threshold, threshold_levels
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.types import Floats, Integers

GRID = 224
DEFAULT_SOFTNESS = geometry.SOFTNESS / 7
"""Softness of RSAM's edge on the 7 × 7 map of a 224 px input, a share of the image's side."""


@dataclass(frozen=True)
class SoftMaskScores:
    """One entry per record with ground truth.

    `best_iou` `(M, 1000)`: MaxBoxAccV2's best overlap per threshold; with masks `(0, 1000)`, as it compares boxes.
    `energy_inside` `(M,)`: ΣA in G / ΣA, NaN for a mask of zeros. `area_share` `(M,)`: |G| / image area, the energy
    inside of a uniform mask. `true_pixels` and `all_pixels` `(1000,)`: the object's share and the number of grid cells
    per level of A, pooled over the images.
    """

    best_iou: NDArray[np.float32]
    energy_inside: Floats
    area_share: Floats
    true_pixels: Floats
    all_pixels: Floats


def score_soft_masks(
    rectangles: Floats, records: Sequence[Record], kind: TruthKind, softness: float, grid: int = GRID
) -> SoftMaskScores:
    """Score the soft masks of rectangles `(N, 5)`, those whose records have ground truth of this kind.

    `softness` is a share of the image's side. Raises `UserError` if a mask cannot be read.
    """
    return score_maps(render(rectangles, image_sizes(records), softness, grid), records, kind)


def score_maps(maps: Iterable[NDArray[np.float32]], records: Sequence[Record], kind: TruthKind) -> SoftMaskScores:
    """Score soft maps `(G, G)`, ≥ 0, over whole images, one per record.

    Raises `UserError` if a mask cannot be read.
    """
    best, energy, share = [], [], []
    true_pixels, all_pixels = np.zeros(LEVELS), np.zeros(LEVELS)
    for soft_mask, record in zip(maps, records, strict=True):
        truth = grid_truth(record, kind, len(soft_mask))
        if truth is None:
            continue
        boxes, coverage = truth
        levels = threshold_levels(soft_mask)
        if kind != "masks":
            best.append(best_iou_by_threshold(soft_mask, levels, boxes))
        energy.append(energy_inside(soft_mask, coverage))
        share.append(float(coverage.mean()))
        true_pixels += np.bincount(levels.ravel(), weights=coverage.ravel(), minlength=LEVELS)
        all_pixels += np.bincount(levels.ravel(), minlength=LEVELS)
    stacked = np.array(best, dtype=np.float32).reshape(-1, LEVELS)
    return SoftMaskScores(stacked, np.array(energy), np.array(share), true_pixels, all_pixels)


def render(
    rectangles: Floats, sizes: Floats, softness: float, grid: int = GRID, at_once: int = 4
) -> Iterator[NDArray[np.float32]]:
    """The soft mask `(grid, grid)` of each rectangle `(N, 5)` in pixels of images of `sizes` `(N, 2)`."""
    scale = np.zeros((len(rectangles), 2, 3))
    scale[:, 0, 0], scale[:, 1, 1] = grid / sizes[:, 0], grid / sizes[:, 1]
    on_grid = geometry.transform(torch.from_numpy(np.asarray(rectangles, np.float64)), torch.from_numpy(scale)).float()
    for start in range(0, len(rectangles), at_once):
        yield from geometry.soft_mask(on_grid[start : start + at_once], grid, grid, softness * grid).numpy()


def grid_truth(record: Record, kind: TruthKind, grid: int) -> tuple[Floats, Floats] | None:
    """Relative true boxes `(G, 4)`, none with masks, and the object's share `(grid, grid)` of each cell; None without
    ground truth."""
    if kind != "masks":
        boxes = true_edges(record, kind) / np.tile((record.width, record.height), 2)
        return (boxes, cell_coverage(boxes, grid)) if len(boxes) else None
    mask = object_mask(record)
    if not mask.any():
        return None
    coverage = cv2.resize(mask.astype(np.float32), (grid, grid), interpolation=cv2.INTER_AREA)
    return np.zeros((0, 4)), np.asarray(coverage, dtype=np.float64)


def cell_coverage(boxes: Floats, grid: int) -> Floats:
    """The share `(grid, grid)` in [0, 1] of each cell that relative boxes `(G, 4)` cover; the greatest of several."""
    start = np.arange(grid)
    covered: list[Any] = []
    for low, high in ((boxes[:, 0], boxes[:, 2]), (boxes[:, 1], boxes[:, 3])):
        inside = np.minimum(high[:, None] * grid, start + 1) - np.maximum(low[:, None] * grid, start)
        covered.append(np.clip(inside, 0.0, 1.0))
    across, down = covered
    return np.asarray((down[:, :, None] * across[:, None, :]).max(axis=0))


def energy_inside(soft_mask: Floats, coverage: Floats) -> float:
    """ΣA in G / ΣA in [0, 1], from a soft mask and the object's share of each cell; NaN for a mask of zeros."""
    total = float(soft_mask.sum(dtype=np.float64))
    return float((soft_mask * coverage).sum(dtype=np.float64)) / total if total > 0 else float("nan")


def pixel_average_precision(true_pixels: Floats, all_pixels: Floats) -> float:
    """PxAP in [0, 1] (Choe et al., section 4.2): area under the pixel precision-recall curve, from pooled level counts.

    Σ precision(τ) · (recall(τ) - recall(next higher τ)). A uniform mask reaches the object's share of all pixels.
    """
    true, every = np.cumsum(true_pixels[::-1]), np.cumsum(all_pixels[::-1])
    occurs = every > 0
    recall = true[occurs] / true[-1]
    return float((true[occurs] / every[occurs] * np.diff(recall, prepend=0.0)).sum())


def frozen_thresholds(chosen: Integers) -> list[float]:
    """Threshold indices as thresholds τ in [0, 1)."""
    return [round(int(index) / LEVELS, 3) for index in chosen]
