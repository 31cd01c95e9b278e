"""Rectangles as CVAT and Label Studio describe them: both in degrees, each about another point.

    ours           centre, width, height in pixels; radians, clockwise as displayed
    CVAT           the corners of the unturned box in pixels; degrees, clockwise, about its centre
    Label Studio   the top-left corner where it lies after turning, width, height in per cent of the image's sides;
                   degrees, clockwise, about that corner

FiftyOne's back-ends hand `bounding_box` and `rotation` of a Detection on without converting them, and what they lose is
measured in the tests: Label Studio's turns about the wrong point unless the box is placed as `for_label_studio` places
it; CVAT's rounds to whole pixels and drops turns below one degree. Files written by `review.annotate` lose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rsam_app.geometry.types import Rectangle
from rsam_app.review.dataset.targets import canonical_angle

Extent = tuple[int, int]
"""Width and height of the image as displayed, in pixels."""


def to_cvat(five: Rectangle) -> dict[str, float]:
    """`xtl, ytl, xbr, ybr` in pixels and `rotation` in degrees, [0, 360)."""
    cx, cy, width, height, angle = five
    box = {"xtl": cx - width / 2, "ytl": cy - height / 2, "xbr": cx + width / 2, "ybr": cy + height / 2}
    return {**box, "rotation": math.degrees(angle) % 360}


def from_cvat(box: Mapping[str, Any]) -> Rectangle:
    """The rectangle of a box as CVAT exports it (`rotation` is left out where it is 0).

    Raises `ValueError` where a number is missing or is none.
    """
    left, top, right, bottom = (_number(box, name) for name in ("xtl", "ytl", "xbr", "ybr"))
    turn = _number(box, "rotation") if box.get("rotation") is not None else 0.0
    return _checked((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, math.radians(turn))


def to_label_studio(five: Rectangle, extent: Extent) -> dict[str, float]:
    """`x, y, width, height` in per cent and `rotation` in degrees, [0, 360), as in the `value` of a region."""
    cx, cy, width, height, angle = five
    along, across = math.cos(angle), math.sin(angle)
    left, top = cx - (width * along - height * across) / 2, cy - (width * across + height * along) / 2
    shares = {"x": left / extent[0], "y": top / extent[1], "width": width / extent[0], "height": height / extent[1]}
    return {**{name: 100 * share for name, share in shares.items()}, "rotation": math.degrees(angle) % 360}


def from_label_studio(value: Mapping[str, Any], extent: Extent) -> Rectangle:
    """The rectangle of a region's `value`. Raises `ValueError` where a number is missing or is none."""
    left, width = (_number(value, name) * extent[0] / 100 for name in ("x", "width"))
    top, height = (_number(value, name) * extent[1] / 100 for name in ("y", "height"))
    angle = math.radians(_number(value, "rotation") if value.get("rotation") is not None else 0.0)
    along, across = math.cos(angle), math.sin(angle)
    cx, cy = left + (width * along - height * across) / 2, top + (width * across + height * along) / 2
    return _checked(cx, cy, width, height, angle)


def for_label_studio(five: Rectangle, extent: Extent) -> Any:
    """A FiftyOne Detection that FiftyOne's Label Studio back-end sends as `to_label_studio` says; see
    `returned_by_label_studio`."""
    import fiftyone as fo

    value = to_label_studio(five, extent)
    box = [value[name] / 100 for name in ("x", "y", "width", "height")]
    return fo.Detection(label="target", bounding_box=box, rotation=value["rotation"])


def returned_by_label_studio(detection: Any, extent: Extent) -> Rectangle:
    """The rectangle of a Detection that FiftyOne's Label Studio back-end brought back."""
    x, y, width, height = (100 * v for v in detection.bounding_box)
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": detection["rotation"]}
    return from_label_studio(value, extent)


def for_cvat(five: Rectangle, extent: Extent) -> Any:
    """A FiftyOne Detection that FiftyOne's CVAT back-end sends as `to_cvat` says, rounded to whole pixels."""
    import fiftyone as fo

    cx, cy, width, height, _ = five
    box = [(cx - width / 2) / extent[0], (cy - height / 2) / extent[1], width / extent[0], height / extent[1]]
    return fo.Detection(label="target", bounding_box=box, rotation=to_cvat(five)["rotation"])


def _number(values: Mapping[str, Any], name: str) -> float:
    try:
        return float(values[name])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name} is missing") from error


def _checked(cx: float, cy: float, width: float, height: float, angle: float) -> Rectangle:
    """The canonical rectangle: CVAT and Label Studio turn through the full circle, ours through half of it."""
    if not all(math.isfinite(v) for v in (cx, cy, width, height, angle)) or width <= 0 or height <= 0:
        raise ValueError(f"a rectangle of {width} × {height} pixels at {cx}, {cy} is none")
    return Rectangle(cx, cy, width, height, canonical_angle(angle))
