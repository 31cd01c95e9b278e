"""Overlap of rectangles with boxes, masks and each other: functions on arrays in pixels.

Rectangles `(N, 5)` are `cx, cy, width, height, angle` as in `rsam_app.geometry.rectangles`; boxes `(N, 4)` are
`left, top, right, bottom`.
"""

from __future__ import annotations

import numpy as np
import shapely
import torch

from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.boxes import areas, clip_edges
from rsam_app.geometry.types import Floats, Mask


def corners(rectangles: Floats) -> Floats:
    """Return the corner points `(N, 4, 2)` of rectangles."""
    return np.asarray(geometry.corners(torch.from_numpy(np.asarray(rectangles, dtype=np.float64))).numpy())


def upright_edges(rectangles: Floats, sizes: Floats) -> Floats:
    """Return the upright boxes `(N, 4)` around rectangles, clipped to images of `sizes` `(N, 2)`; may have no area."""
    points = corners(rectangles)
    return clip_edges(np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1), sizes)


def box_iou(first: Floats, second: Floats) -> Floats:
    """Return the IoU `(N,)` in [0, 1] of boxes `(N, 4)` with boxes `(N, 4)`; 0 if neither has an area."""
    low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
    shared = np.prod(np.clip(high - low, 0.0, None), axis=-1)
    first_area, second_area = (np.prod(b[..., 2:] - b[..., :2], axis=-1) for b in (first, second))
    return _ratio(shared, first_area + second_area - shared)


def intersection_areas(first: Floats, second: Floats) -> Floats:
    """Return the areas `(N,)` that two sets of convex polygons, each of corner points `(N, K, 2)`, share; NaN for
    points that are not finite."""
    drawn = np.isfinite(first).all(axis=(1, 2)) & np.isfinite(second).all(axis=(1, 2))
    a, b = (np.asarray(shapely.polygons(points[drawn])) for points in (first, second))
    solid = (shapely.area(a) > 1e-9) & (shapely.area(b) > 1e-9)  # clipping is undefined on a line or a point
    areas = np.zeros(len(a))
    areas[solid] = shapely.area(shapely.intersection(a[solid], b[solid]))
    shared = np.full(len(first), np.nan)
    shared[drawn] = areas
    return shared


def rotated_overlap(rectangles: Floats, edges: Floats) -> tuple[Floats, Floats, Floats]:
    """Return IoU, |R∩G|/|R| and |R∩G|/|G|, each `(N,)` in [0, 1], of rectangles `(N, 5)` R with boxes `(N, 4)` G.

    R is not clipped to the image. A low |R∩G|/|R| means background, a low |R∩G|/|G| only a part of the object.
    """
    boxes = np.stack([edges[:, [0, 1]], edges[:, [2, 1]], edges[:, [2, 3]], edges[:, [0, 3]]], axis=1)
    shared = intersection_areas(corners(rectangles), boxes)
    own, true = rectangles[:, 2] * rectangles[:, 3], areas(edges)
    return _ratio(shared, own + true - shared), _ratio(shared, own), _ratio(shared, true)


def rotated_iou(first: Floats, second: Floats) -> Floats:
    """Return the IoU `(N,)` in [0, 1] of rectangles `(N, 5)` with rectangles `(N, 5)`."""
    shared = intersection_areas(corners(first), corners(second))
    return _ratio(shared, first[:, 2] * first[:, 3] + second[:, 2] * second[:, 3] - shared)


def visible_areas(rectangles: Floats, sizes: Floats) -> Floats:
    """Return the share `(N,)` in [0, 1] of the image that each rectangle covers."""
    whole = np.concatenate([np.zeros_like(sizes), sizes], axis=1)
    _, _, covered = rotated_overlap(rectangles, whole)
    return covered


def rasterise(rectangle: Floats, height: int, width: int) -> Mask:
    """Return the mask `(height, width)` of the pixels whose centres are in a rectangle `(5,)`."""
    cx, cy, along, across, angle = rectangle
    x, y = np.arange(width) + 0.5 - cx, np.arange(height)[:, None] + 0.5 - cy
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.asarray((np.abs(u) <= along / 2) & (np.abs(v) <= across / 2))


def pixel_overlap(region: Mask, mask: Mask) -> tuple[float, float, float]:
    """Return IoU, |R∩G|/|R| and |R∩G|/|G| in [0, 1] of masks R and G of one shape; 0 if undefined."""
    shared, own, true = (int(np.count_nonzero(m)) for m in (region & mask, region, mask))
    iou, on_object, covered = _ratio(np.full(3, shared), np.array([own + true - shared, own, true]))
    return float(iou), float(on_object), float(covered)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Return `part / whole`, 0 if `whole` is 0; clipped to [0, 1], since rounding may exceed 1."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(np.where(whole > 0, part / whole, 0.0), 0.0, 1.0)
