"""MaxBoxAccV2 (Choe et al., CVPR 2020; arXiv 2001.07437, 2007.04178): boxes around a soft mask's contours, at the best
threshold for the dataset.

Soft masks are `(H, W)` maps on a grid over the whole image; true boxes are relative, `left, top, right, bottom`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rsam_app.geometry.overlap import box_iou
from rsam_app.geometry.types import Floats, Integers

LEVELS = 1000
"""Thresholds τ = 0, .001, …, .999 of the mask's maximum."""
OVERLAPS = (0.3, 0.5, 0.7)
"""IoU thresholds δ."""

Levels = NDArray[np.uint16]


def threshold_levels(soft_mask: Floats) -> Levels:
    """For each pixel `(H, W)` the highest k with A ≥ k/1000 · max A, at most 999; 0 everywhere for a mask of zeros."""
    mask = np.asarray(soft_mask, dtype=np.float64)
    peak = mask.max()
    if not peak > 0:
        return np.zeros(mask.shape, dtype=np.uint16)
    thresholds = np.arange(LEVELS + 2) / LEVELS * peak
    level = (mask / peak * LEVELS).astype(np.int64)
    level += thresholds[level + 1] <= mask  # the quotient's rounding may be off by one at a threshold
    level -= thresholds[level] > mask
    return np.asarray(np.clip(level, 0, LEVELS - 1).astype(np.uint16))


def best_iou_by_threshold(soft_mask: NDArray[np.float32], levels: Levels, true_boxes: Floats) -> NDArray[np.float32]:
    """For each threshold `(1000,)`, the best IoU of a contour's box with one of the true boxes `(G, 4)`.

    `soft_mask` `(H, W)` and its `threshold_levels`. If every superlevel set is one piece without a hole, as those of a
    rendered rectangle are, the boxes follow from the maxima of rows and columns; else contours are drawn once per level
    that occurs.
    """
    if not levels.any():
        return np.zeros(LEVELS, dtype=np.float32)
    scale = np.array([levels.shape[1], levels.shape[0]] * 2, dtype=np.float64)
    if _in_one_piece(soft_mask, levels):
        return _best_iou(profile_boxes(levels) / scale, true_boxes).astype(np.float32)
    occurring = np.unique(levels).astype(np.int64)
    boxes = [contour_boxes(levels >= level) for level in occurring]
    first = np.cumsum([0, *map(len, boxes[:-1])])
    best = np.maximum.reduceat(_best_iou(np.concatenate(boxes) / scale, true_boxes), first)
    # A threshold between two levels that occur has the contours of the higher one; above the highest there are none.
    return np.append(best, 0.0)[np.searchsorted(occurring, np.arange(LEVELS))].astype(np.float32)


def profile_boxes(levels: Levels) -> Integers:
    """The box `left, top, right, bottom` in cells around {levels ≥ k} for each k, `(1000, 4)`; some cell is 999."""
    rows, columns = levels.max(axis=1), levels.max(axis=0)
    every = np.arange(LEVELS)
    left, right = _extent(columns, every)
    top, bottom = _extent(rows, every)
    return np.stack([left, top, right, bottom], axis=1)


def contour_boxes(region: NDArray[np.bool_]) -> Integers:
    """Boxes `left, top, right, bottom` in cells `(K, 4)` around every contour of a region, including those of holes."""
    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    boxes = np.array([cv2.boundingRect(c) for c in contours], dtype=np.int64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def max_box_accuracy(best_iou: NDArray[np.float32], thresholds: Integers | None = None) -> tuple[Floats, Integers]:
    """Accuracy `(3,)` in [0, 1] and threshold index `(3,)` per δ of `OVERLAPS`, from best IoUs `(N, 1000)`.

    Thresholds are an oracle of this split (the lowest of the best) unless given, e.g. those of the training split.
    MaxBoxAccV2 is the mean of the three accuracies.
    """
    accuracy = np.stack([(best_iou >= overlap).mean(axis=0) for overlap in OVERLAPS])
    chosen = accuracy.argmax(axis=1) if thresholds is None else thresholds
    return accuracy[np.arange(len(OVERLAPS)), chosen], np.asarray(chosen)


def _best_iou(boxes: Floats, true_boxes: Floats) -> Floats:
    """For each box `(K, 4)` its best IoU with one of `(G, 4)`."""
    return np.asarray(box_iou(boxes[:, None], true_boxes[None]).max(axis=1))


def _extent(profile: Levels, levels: Integers) -> tuple[Any, Any]:
    """First index, and last index + 1, at which a profile reaches each level."""
    from_start = np.maximum.accumulate(profile)
    from_end = np.maximum.accumulate(profile[::-1])
    return np.searchsorted(from_start, levels), len(profile) - np.searchsorted(from_end, levels)


def _in_one_piece(soft_mask: NDArray[np.float32], levels: Levels) -> bool:
    """Whether every {levels ≥ k} is certainly connected (8 neighbours) and without a hole.

    A second piece would contain a second regional maximum of the mask, a hole a regional minimum off the border.
    Values above the highest and below the lowest threshold are flattened, so float rounding there has no effect.
    """
    top = np.float32(0.9995)
    height = np.minimum(soft_mask / soft_mask.max(), top)
    height[levels == 0] = 0
    peaks = (height == cv2.dilate(height, np.ones((3, 3), np.uint8))) & (height > 0)
    pits = (height == cv2.erode(height, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))) & (height > 0)
    if pits[1:-1, 1:-1][height[1:-1, 1:-1] < top].any() or _pieces(peaks, connectivity=8) > 1:
        return False
    ground = np.pad(levels == 0, 1, constant_values=True)  # the frame connects everything at the border
    return _pieces(ground, connectivity=4) == 1


def _pieces(region: NDArray[np.bool_], connectivity: int) -> int:
    return int(cv2.connectedComponents(region.astype(np.uint8), connectivity=connectivity)[0]) - 1
