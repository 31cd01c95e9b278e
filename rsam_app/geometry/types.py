"""Types of the geometry: arrays, upright boxes and rotated rectangles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


Integers = NDArray[np.integer[Any]]


Box = tuple[float, float, float, float]
"""An upright box `x, y, width, height` in continuous pixels of the image as displayed; may reach past the edge."""


Rectangle = tuple[float, float, float, float, float]
"""`cx, cy, width, height` in image pixels and `angle` in radians."""


Pixels = NDArray[np.uint8]


Mask = NDArray[np.bool_]
