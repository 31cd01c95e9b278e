"""Random colours: brightness, contrast, saturation and hue of a view in one pass over its pixels."""

from __future__ import annotations

import math

import cv2
import numpy as np

HUE = 0.02
"""Largest change of hue either way, in turns of the colour circle."""

CHANCE = 0.8

LUMA = np.array([0.299, 0.587, 0.114])

TO_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""ITU-R BT.601 luma and the two colour differences of NTSC, in whose plane a turn changes the hue."""

FROM_YIQ = np.linalg.inv(TO_YIQ)


def draw_colour(draws: np.random.Generator, strength: float) -> tuple[float, float, float, float] | None:
    """Factors of brightness, contrast and saturation in `1 ± strength`, and a turn of the hue in ±`HUE`; None where the
    colours are to stay, one time in five."""
    brightness, contrast, saturation, hue, chance = draws.random(5).tolist()
    if chance >= CHANCE:
        return None
    factors = [1 + strength * (2 * u - 1) for u in (brightness, contrast, saturation)]
    return factors[0], factors[1], factors[2], HUE * (2 * hue - 1)


def change_colour(view: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float) -> np.ndarray:
    """`view` `(H, W, 3)` uint8 RGB with other colours, clipped once at the end.

    Each change is linear in RGB, so that all four are one matrix: brightness scales, contrast moves away from the mean
    grey, saturation away from each pixel's own grey, and hue turns about the grey axis. ours; Pillow's enhancers clip
    after each.
    """
    turn = 2 * math.pi * hue
    cos, sin = saturation * math.cos(turn), saturation * math.sin(turn)
    colours = FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ TO_YIQ
    mean = brightness * float(LUMA @ cv2.mean(view[::4])[:3])  # every fourth row says the mean well enough
    matrix = np.column_stack([brightness * contrast * colours, np.full(3, (1 - contrast) * mean)])
    return cv2.transform(view, matrix.astype(np.float32))
