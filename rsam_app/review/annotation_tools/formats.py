"""Rectangles as CVAT and Label Studio describe them: both in degrees, each about another point.

    RSAM           centre, width, height in pixels; radians, clockwise as displayed
    CVAT           corners of the unrotated box in pixels; degrees, clockwise, about its centre
    Label Studio   top-left corner after rotation, width, height in per cent of the image's sides; degrees, clockwise,
                   about that corner

FiftyOne's back-ends pass a Detection's `bounding_box` and `rotation` on without conversion. The tests measure their
loss: Label Studio's rotates about the wrong point unless `for_label_studio` places the box; CVAT's rounds to whole
pixels and drops rotations below one degree. Files written by `annotation_tools.exchange` lose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch

from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.types import Points, Rectangle
from rsam_app.review.dataset.targets import canonical_angle, is_on_image

Extent = tuple[int, int]
"""Width and height of the image as displayed, in pixels."""


def to_cvat(rectangle: Rectangle) -> dict[str, float]:
    """Return `xtl, ytl, xbr, ybr` in pixels and `rotation` in degrees, [0, 360)."""
    left, top = rectangle.cx - rectangle.width / 2, rectangle.cy - rectangle.height / 2
    right, bottom = rectangle.cx + rectangle.width / 2, rectangle.cy + rectangle.height / 2
    return {"xtl": left, "ytl": top, "xbr": right, "ybr": bottom, "rotation": _degrees(rectangle)}


def from_cvat(box: Mapping[str, Any]) -> Rectangle:
    """Return the rectangle of a box as CVAT exports it; a missing `rotation` is 0.

    Raises `ValueError` if a number is missing or not a number.
    """
    left, top, right, bottom = (_number(box, name) for name in ("xtl", "ytl", "xbr", "ybr"))
    return _checked((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, _angle(box))


def to_label_studio(rectangle: Rectangle, extent: Extent) -> dict[str, float]:
    """Return `x, y, width, height` in per cent and `rotation` in degrees, [0, 360), as in the `value` of a region."""
    dx, dy = _corner_to_centre(rectangle.width, rectangle.height, rectangle.angle)
    return {
        "x": 100 * ((rectangle.cx - dx) / extent[0]),
        "y": 100 * ((rectangle.cy - dy) / extent[1]),
        "width": 100 * (rectangle.width / extent[0]),
        "height": 100 * (rectangle.height / extent[1]),
        "rotation": _degrees(rectangle),
    }


def from_label_studio(value: Mapping[str, Any], extent: Extent) -> Rectangle:
    """Return the rectangle of a region's `value`. Raises `ValueError` if a number is missing or not a number."""
    left, width = (_number(value, name) * extent[0] / 100 for name in ("x", "width"))
    top, height = (_number(value, name) * extent[1] / 100 for name in ("y", "height"))
    angle = _angle(value)
    dx, dy = _corner_to_centre(width, height, angle)
    return _checked(left + dx, top + dy, width, height, angle)


def from_label_studio_polygon(value: Mapping[str, Any], extent: Extent) -> Rectangle:
    """Return the smallest rectangle around a polygon region's `points`. Raises `ValueError` if it has no area."""
    return _around([(float(x) * extent[0] / 100, float(y) * extent[1] / 100) for x, y in value.get("points", ())])


def from_cvat_polygon(polygon: Mapping[str, Any]) -> Rectangle:
    """Return the smallest rectangle around a polygon's `points`, `x,y;x,y;…`. Raises `ValueError` if it has no area."""
    pairs = [point.split(",") for point in str(polygon.get("points", "")).split(";") if point]
    return _around([(float(x), float(y)) for x, y in pairs])


def place(rectangle: Rectangle, drawn_on: Extent | None, extent: Extent) -> Rectangle:
    """Return a rectangle that was drawn on a copy of `drawn_on` pixels, in pixels of the image of `extent`.

    Without `drawn_on` the copy has the same size. If the sides of the copy have another ratio, a rotated rectangle
    becomes the nearest one (`geometry.rectangles.transform`). Raises `ValueError` if the copy has no size or is turned
    by 90°, and if less than a pixel of the rectangle is on the image.
    """
    if drawn_on and drawn_on != extent:
        sizes = f"{drawn_on[0]} × {drawn_on[1]} pixels in the file, {extent[0]} × {extent[1]} in the dataset"
        if min(drawn_on) < 1:
            raise ValueError(f"its image has no size: {sizes}")
        if drawn_on == extent[::-1]:
            raise ValueError(f"its image is turned by 90°: {sizes}. Annotate it as it is displayed")
        values = torch.tensor([rectangle], dtype=torch.float64)
        affine = geometry.scaling(extent[0] / drawn_on[0], extent[1] / drawn_on[1], values)
        rectangle = Rectangle(*geometry.transform(values, affine)[0].tolist())
    if not is_on_image(rectangle, *extent):
        at = ", ".join(f"{value:.0f}" for value in rectangle[:4])
        raise ValueError(
            f"its rectangle (centre and sides {at}) is off the image of {extent[0]} × {extent[1]} pixels. Draw it again"
        )
    return rectangle


def for_label_studio(rectangle: Rectangle, extent: Extent) -> Any:
    """Return a FiftyOne Detection that FiftyOne's Label Studio back-end sends as `to_label_studio` does;
    `returned_by_label_studio` reads it back."""
    import fiftyone as fo

    value = to_label_studio(rectangle, extent)
    box = [value[name] / 100 for name in ("x", "y", "width", "height")]
    return fo.Detection(label="target", bounding_box=box, rotation=value["rotation"])


def returned_by_label_studio(detection: Any, extent: Extent) -> Rectangle:
    """Return the rectangle of a Detection from FiftyOne's Label Studio back-end."""
    x, y, width, height = (100 * v for v in detection.bounding_box)
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": detection["rotation"]}
    return from_label_studio(value, extent)


def for_cvat(rectangle: Rectangle, extent: Extent) -> Any:
    """Return a FiftyOne Detection that FiftyOne's CVAT back-end sends as `to_cvat` does, rounded to whole pixels."""
    import fiftyone as fo

    box = to_cvat(rectangle)
    left, top = box["xtl"] / extent[0], box["ytl"] / extent[1]
    shape = [left, top, rectangle.width / extent[0], rectangle.height / extent[1]]
    return fo.Detection(label="target", bounding_box=shape, rotation=box["rotation"])


def _around(points: Points) -> Rectangle:
    """The smallest rectangle around points."""
    if len(points) < 3:
        raise ValueError(f"a polygon of {len(points)} points is not an area")
    (cx, cy), (width, height), degrees = cv2.minAreaRect(np.array(points, dtype=np.float32))
    return _checked(cx, cy, width, height, math.radians(degrees))


def _corner_to_centre(width: float, height: float, angle: float) -> tuple[float, float]:
    """The vector from a rotated rectangle's top-left corner to its centre."""
    cos, sin = math.cos(angle), math.sin(angle)
    return (width * cos - height * sin) / 2, (width * sin + height * cos) / 2


def _degrees(rectangle: Rectangle) -> float:
    return math.degrees(rectangle.angle) % 360


def _angle(values: Mapping[str, Any]) -> float:
    return math.radians(_number(values, "rotation")) if values.get("rotation") is not None else 0.0


def _number(values: Mapping[str, Any], name: str) -> float:
    try:
        return float(values[name])
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{name} is missing") from error


def _checked(cx: float, cy: float, width: float, height: float, angle: float) -> Rectangle:
    """The rectangle with its canonical angle: CVAT and Label Studio rotate through the full circle."""
    if not all(math.isfinite(v) for v in (cx, cy, width, height, angle)) or width <= 0 or height <= 0:
        raise ValueError(f"{width} × {height} pixels at {cx}, {cy} is not a rectangle")
    return Rectangle(cx, cy, width, height, canonical_angle(angle))
