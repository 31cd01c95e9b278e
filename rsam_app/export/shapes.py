"""Outlines of rectangles and boxes in image pixels, and the part of them that lies inside the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rsam_app.data.records import Box
from rsam_app.export.item import Rectangle

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

    from rsam_app.attention.geometry import corners

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
