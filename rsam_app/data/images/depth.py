"""Images with more than eight bits per channel: their range of values, and their conversion to eight bits."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image

TOPS = (2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1)
"""Largest values of the bit depths of cameras and scanners, which files of 16 bits hold."""

DEEP_COLOUR = re.compile(r"(LA|RGB[AXa]?);16[LBN]?")
"""Pillow's names for colours stored in 16 bits; it keeps only their upper 8."""

DIM = 2**6
"""If all upper bytes are below, the values have at most 14 bits."""

MIN_TAGS, MAX_TAGS = (340, 280), (341, 281)
"""TIFF's SMinSampleValue, MinSampleValue, and SMaxSampleValue, MaxSampleValue."""

Range = tuple[float, float]


def declared_range(image: Image.Image) -> Range | None:
    """Return the range `(low, high)` of values that a TIFF declares; None if it declares none, or all of 16 bits."""
    tags = getattr(image, "tag_v2", {})
    low, high = (_first([tags[key] for key in keys if key in tags]) for keys in (MIN_TAGS, MAX_TAGS))
    return (low, high) if low < high and high != TOPS[-1] else None


def to_eight_bits(values: np.ndarray, declared: Range | None = None) -> np.ndarray:
    """Scale values of any type and shape to 0…255, as uint8.

    From the declared range if they lie in it; otherwise floats up to 1 from 0…1; otherwise non-negative whole numbers
    from the smallest of the bit depths 8, 10, 12, 14, 16 that holds them; anything else from its own minimum to its
    maximum. Raises `ValueError` for NaN and infinity.
    """
    require_finite(values)
    low, high = _range(values, declared)
    scale = 255.0 / (high - low or 1.0)
    scaled: np.ndarray = np.clip((values.astype(np.float64) - low) * scale, 0, 255).astype(np.uint8)
    return scaled


def require_finite(values: np.ndarray) -> None:
    """Raise `ValueError` if a value is NaN or infinite."""
    if not np.isfinite(values).all():
        raise ValueError("has pixels that are NaN or infinite")


def stores_deep_colour(image: Image.Image) -> bool:
    """Return whether an image that was just opened stores colours in 16 bits; once loaded, Pillow no longer knows."""
    return any(DEEP_COLOUR.fullmatch(_raw_mode(tile)) for tile in getattr(image, "tile", ()))


def load_colour(image: Image.Image, deep: bool, read: Callable[[], bytes]) -> Image.Image:
    """Load the image; return it with 8 bits per channel if colours of 10, 12 or 14 bits are stored in 16.

    Pillow's upper bytes of such colours are black. All other images are returned themselves. `deep` is what
    `stores_deep_colour` returned; `read` returns the file's content. Raises `ValueError` if OpenCV, which reads all
    bits, does not agree with Pillow on the upper ones.
    """
    image.load()
    if not deep:
        return image
    upper = np.asarray(image)
    colours = 1 if image.mode == "LA" else 3
    if upper[..., :colours].max(initial=0) >= DIM:
        return image
    stored = cv2.imdecode(np.frombuffer(read(), np.uint8), cv2.IMREAD_UNCHANGED)
    values = None if stored is None else _in_pillows_order(stored, upper.shape[2])
    if values is None or values.shape != upper.shape or not np.array_equal(values >> 8, upper):
        raise ValueError("stores colours of more than 8 bits in a way that cannot be read; save it with 8 bits")
    return Image.fromarray(
        np.dstack([to_eight_bits(values[..., :colours]), *map(to_eight_bits, np.rollaxis(values, 2)[colours:])])
    )


def _first(values: list[Any]) -> float:
    """Return the first of the tags' values, that of the first channel if they have several; 0 without one."""
    return float(np.ravel(values[0])[0]) if values else 0.0


def _raw_mode(tile: tuple[object, ...]) -> str:
    arguments = tile[3]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _in_pillows_order(stored: np.ndarray, channels: int) -> np.ndarray | None:
    """Return OpenCV's `(H, W, 3 or 4)` blue, green, red as Pillow's channels; None if it has too few."""
    if stored.ndim != 3 or stored.shape[2] < 3 or stored.dtype != np.uint16:
        return None
    colours = stored[..., [2, 1, 0, *range(3, stored.shape[2])]]
    return colours[..., [0, -1]] if channels == 2 else colours


def _range(values: np.ndarray, declared: Range | None) -> Range:
    low, high = float(values.min()), float(values.max())
    if declared and declared[0] <= low and high <= declared[1]:
        return declared
    if low < 0 or high > TOPS[-1]:
        return low, high
    whole = np.issubdtype(values.dtype, np.integer)
    if not whole and high <= 1:
        return 0.0, 1.0
    if whole or np.array_equal(values, np.floor(values)):
        return 0.0, float(next(top for top in TOPS if high <= top))
    return low, high
