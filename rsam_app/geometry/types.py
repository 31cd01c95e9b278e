"""Types of the geometry: arrays, upright boxes and rotated rectangles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

Points = list[tuple[float, float]]
"""The corners of a polygon, in continuous pixels."""

Box = tuple[float, float, float, float]
"""An upright box `x, y, width, height` in continuous pixels of the displayed image; it may reach past the edges."""


class Rectangle(NamedTuple):
    """A rotated rectangle in image pixels: centre, sides, and the angle of `width` in radians, clockwise."""

    cx: float
    cy: float
    width: float
    height: float
    angle: float


RECTANGLE_FIELDS = Rectangle._fields
"""The names of the five numbers, as columns, attributes and keys use them."""
