"""Clipping: the part of a rectangle or box that lies inside an image or is visible in a view."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
import torch
from torch import Tensor

from rsam_app.geometry import overlap
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.types import Box, Points, Rectangle


def rectangle_in_view(rectangle: Rectangle, to_image: np.ndarray, size: int) -> tuple[Tensor, float]:
    """Return `visible_part` `(5,)` of a rectangle in image pixels, in a square view of `size` pixels, and its share.

    `to_image` `(2, 3)` maps the view's pixels to the image's.
    """
    to_view = geometry.invert(torch.from_numpy(to_image)[None])
    return visible_part(geometry.transform(torch.tensor([rectangle]), to_view)[0], size, size)


def visible_part(rectangle: Tensor, width: int, height: int) -> tuple[Tensor, float]:
    """Return the visible part of a rectangle `(5,)` in a `width × height` view, and its share of the area, in [0, 1].

    That is the smallest rectangle of the same angle around what lies inside, in the view's pixels. If nothing is
    visible, the rectangle itself and 0 are returned.
    """
    view = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    points = geometry.corners(rectangle[None])[0].numpy().astype(np.float32)
    area = float(rectangle[2] * rectangle[3])
    visible, polygon = cv2.intersectConvexConvex(points, view)
    if visible <= 0 or area <= 0 or polygon is None:
        return rectangle, 0.0
    if visible >= area * (1 - 1e-4):
        return rectangle, 1.0
    cos, sin = float(torch.cos(rectangle[4])), float(torch.sin(rectangle[4]))
    rotation = np.array([[cos, sin], [-sin, cos]])
    local = polygon.reshape(-1, 2) @ rotation.T
    low, high = local.min(axis=0), local.max(axis=0)
    centre = (low + high) / 2 @ rotation
    values = [*centre, *(high - low), float(rectangle[4])]
    return torch.tensor(values, dtype=torch.float32), min(1.0, visible / area)


@dataclass(frozen=True)
class ClippedPolygon:
    """The part of a polygon inside an image: its corners, its upright box and its area, in pixels."""

    points: Points
    box: Box
    area: float


def rectangle_corners(rectangle: Rectangle) -> Points:
    """Return the four corners, clockwise as displayed."""
    return [(x, y) for x, y in overlap.corners(np.array([rectangle]))[0].tolist()]


def box_corners(box: Box) -> Points:
    """Return the four corners, clockwise as displayed."""
    x, y, width, height = box
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def clip_polygon(points: Points, width: int, height: int) -> ClippedPolygon | None:
    """Clip a convex polygon to an image of `width × height` pixels; None if none of it is inside."""
    polygon, frame = shapely.Polygon(points), shapely.box(0, 0, width, height)
    if not frame.covers(polygon):
        polygon = polygon.intersection(frame)
    if polygon.area <= 0:
        return None
    left, top, right, bottom = polygon.bounds
    corners = [(x, y) for x, y in polygon.exterior.coords[:-1]]
    return ClippedPolygon(corners, (left, top, right - left, bottom - top), polygon.area)


def clip_corners(rectangle: Rectangle, width: int, height: int) -> tuple[Points, bool] | None:
    """Return four corners inside an image of `width × height` pixels, and whether they are the rectangle's own.

    A rectangle that reaches past the image becomes the smallest one of the same angle around its part inside, and the
    corners of that which still lie outside move to the border. None if no part is inside.
    """
    points = rectangle_corners(rectangle)
    if all(0 <= x <= width and 0 <= y <= height for x, y in points):
        return points, True
    part = clip_polygon(points, width, height)
    if part is None:
        return None
    cos, sin = math.cos(rectangle.angle), math.sin(rectangle.angle)
    along = [x * cos + y * sin for x, y in part.points]
    across = [y * cos - x * sin for x, y in part.points]
    frame = box_corners((min(along), min(across), max(along) - min(along), max(across) - min(across)))
    corners = [(u * cos - v * sin, u * sin + v * cos) for u, v in frame]
    return [(min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))) for x, y in corners], False
