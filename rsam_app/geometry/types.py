"""Types of the geometry: arrays, upright boxes and rotated rectangles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

Box = tuple[float, float, float, float]
"""An upright box `x, y, width, height` in continuous pixels of the image as displayed; may reach past the edge."""


class Rectangle(NamedTuple):
    """A rotated rectangle in image pixels: its centre, its sides, and the angle of `width` in radians, clockwise."""

    cx: float
    cy: float
    width: float
    height: float
    angle: float


RECTANGLE_FIELDS = Rectangle._fields
"""The five numbers' names, as columns, attributes and keys carry them."""
