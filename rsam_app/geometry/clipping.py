"""The part of a rectangle that a view still shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.types import Box, Rectangle


def visible_part(rectangle: Tensor, width: int, height: int) -> tuple[Tensor, float]:
    """The smallest rectangle of the same angle around what lies inside a `width × height` view, and the share of the
    area that does, in [0, 1]. `rectangle` `(5,)` in the view's pixels. Nothing visible: the rectangle itself and 0."""
    view = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    points = geometry.corners(rectangle[None])[0].numpy().astype(np.float32)
    area = float(rectangle[2] * rectangle[3])
    inside, polygon = cv2.intersectConvexConvex(points, view)
    if inside <= 0 or area <= 0 or polygon is None:
        return rectangle, 0.0
    if inside >= area * (1 - 1e-4):
        return rectangle, 1.0
    cos, sin = float(torch.cos(rectangle[4])), float(torch.sin(rectangle[4]))
    turn = np.array([[cos, sin], [-sin, cos]])
    local = polygon.reshape(-1, 2) @ turn.T
    low, high = local.min(axis=0), local.max(axis=0)
    centre = (low + high) / 2 @ turn
    values = [*centre, *(high - low), float(rectangle[4])]
    return torch.tensor(values, dtype=torch.float32), min(1.0, inside / area)


Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Shape:
    """A polygon, its upright box `x, y, width, height` and its area; all in pixels."""

    outline: Points
    box: Box
    area: float


def rectangle_corners(rectangle: Rectangle) -> Points:
    """The four corners, clockwise as displayed."""
    import torch

    from rsam_app.geometry.rectangles import corners

    points: list[list[float]] = corners(torch.tensor([rectangle], dtype=torch.float64))[0].tolist()
    return [(x, y) for x, y in points]


def box_corners(box: Box) -> Points:
    """The four corners, clockwise as displayed."""
    x, y, width, height = box
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def inside(outline: Points, width: int, height: int) -> Shape | None:
    """The part of a convex outline inside an image of `width × height` pixels; None where there is none."""
    from shapely.geometry import Polygon, box

    shape, frame = Polygon(outline), box(0, 0, width, height)
    if not frame.covers(shape):
        shape = shape.intersection(frame)
    if shape.area <= 0:
        return None
    left, top, right, bottom = shape.bounds
    return Shape([(x, y) for x, y in shape.exterior.coords[:-1]], (left, top, right - left, bottom - top), shape.area)


def clamped_corners(rectangle: Rectangle, width: int, height: int) -> tuple[Points, bool] | None:
    """Four corners inside an image of `width × height` pixels, and whether they are the rectangle's own.

    Of a rectangle that reaches beyond the image: the smallest one at the same angle around its part inside, its corners
    moved to the border where they still lie outside. None where no part is inside.
    """
    outline = rectangle_corners(rectangle)
    if all(0 <= x <= width and 0 <= y <= height for x, y in outline):
        return outline, True
    shape = inside(outline, width, height)
    if shape is None:
        return None
    cos, sin = math.cos(rectangle[4]), math.sin(rectangle[4])
    along = [x * cos + y * sin for x, y in shape.outline]
    across = [y * cos - x * sin for x, y in shape.outline]
    frame = box_corners((min(along), min(across), _extent(along), _extent(across)))
    corners = [(u * cos - v * sin, u * sin + v * cos) for u, v in frame]
    return [(min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))) for x, y in corners], False


def _extent(values: list[float]) -> float:
    return max(values) - min(values)


def rectangle_in_view(rectangle: Rectangle, to_image: np.ndarray, size: int) -> tuple[Tensor, float]:
    """What a view of `size` pixels shows of a rectangle in image pixels: the smallest one of its angle around that,
    `(5,)` in the view's pixels, and the share of its area that is in sight. `to_image` `(2, 3)` leads from the view's
    pixels to the image's."""
    to_view = geometry.invert(torch.from_numpy(to_image)[None])
    return visible_part(geometry.transform(torch.tensor([rectangle]), to_view)[0], size, size)


def boxes_in_view(boxes: Sequence[Box], to_image: np.ndarray, size: int) -> list[tuple[Tensor, float]]:
    """The same of upright boxes, which are rectangles with an angle of 0 and need not stay upright."""
    found = [Rectangle(x + width / 2, y + height / 2, width, height, 0.0) for x, y, width, height in boxes]
    return [rectangle_in_view(rectangle, to_image, size) for rectangle in found]


def mask_in_view(mask: npt.NDArray[np.bool_], to_image: np.ndarray, size: int) -> npt.NDArray[np.bool_]:
    """A mask `(H, W)` of the displayed image as the view shows it, `(size, size)`; False beyond the image."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    by_index = to_image.astype(float) @ half - [[0, 0, 0.5], [0, 0, 0.5]]  # OpenCV counts from pixel centres
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    shown: npt.NDArray[np.bool_] = cv2.warpAffine(mask.astype(np.uint8), by_index, (size, size), flags=flags) > 0
    return shown
