"""Outlines of rectangles and boxes in image pixels, and the part of them that lies inside the image."""

from __future__ import annotations

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
