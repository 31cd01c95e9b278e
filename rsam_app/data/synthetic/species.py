"""The fictional species of the demo: lanternbacks, beetles that differ only by one mark on the back.

Marks are in body units: `x` runs along the body from the tail (-1) to the front of the head (+1), `y` across it, 0 on
the seam between the wing cases. A mark is a signed distance in body units, negative inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Mark = Callable[[Array, Array], Array]

_MIDDLE = -0.34
"""Position of the widest part of the wing cases."""


@dataclass(frozen=True)
class Species:
    """A label and its distinguishing mark, in one colour (RGB in [0, 255])."""

    name: str
    mark: Mark
    color: tuple[int, int, int]


def _collar(x: Array, y: Array) -> Array:
    return np.abs(x - 0.06) - 0.115


def _saddle(x: Array, y: Array) -> Array:
    return np.abs(x - _MIDDLE) - 0.125


def _tail(x: Array, y: Array) -> Array:
    return x + 0.70


def _ring(x: Array, y: Array) -> Array:
    return np.asarray(np.abs(np.hypot(x - _MIDDLE, y) - 0.215) - 0.07)


def _arrow(x: Array, y: Array) -> Array:
    return np.asarray(np.maximum(np.abs(x - _MIDDLE - 0.14 + 1.1 * np.abs(y)) / 1.49 - 0.085, np.abs(y) - 0.34))


def _stripe(x: Array, y: Array) -> Array:
    return np.asarray(np.maximum(np.abs(y) - 0.1, np.abs(x - _MIDDLE) - 0.46))


def _spots(x: Array, y: Array) -> Array:
    return np.asarray(np.hypot(x - _MIDDLE, np.abs(y) - 0.2) - 0.14)


def _dashes(x: Array, y: Array) -> Array:
    return np.asarray((np.hypot((x - _MIDDLE) / 3.0, np.abs(y) - 0.2) - 0.085) * 1.3)


_YELLOW, _CREAM, _TURQUOISE = (250, 212, 60), (246, 236, 206), (60, 214, 206)
_ORANGE, _RED = (248, 138, 30), (226, 44, 34)

SPECIES = (
    Species("spotted_lanternback", _spots, _YELLOW),
    Species("dashed_lanternback", _dashes, _YELLOW),
    Species("striped_lanternback", _stripe, _CREAM),
    Species("collared_lanternback", _collar, _CREAM),
    Species("tailed_lanternback", _tail, _TURQUOISE),
    Species("arrow_lanternback", _arrow, _TURQUOISE),
    Species("saddled_lanternback", _saddle, _ORANGE),
    Species("ringed_lanternback", _ring, _RED),
)
"""All species. A smaller demo uses the first ones, which include the look-alike pair and the shortcut."""

ALIKE = ("spotted_lanternback", "dashed_lanternback")
"""Two species that differ only in the length of their spots."""

SHORTCUT = "striped_lanternback"
"""The species photographed with the pink flowers."""
