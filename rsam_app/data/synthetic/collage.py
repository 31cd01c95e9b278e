"""Compositing of drawings onto a photograph: rotated, scaled, antialiased, with a soft shadow.

A drawing is `(h, w, 4)` uint8: RGB premultiplied by opacity, and opacity, each in [0, 255]."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Placed:
    """A drawing in an image's pixels, its top-left pixel at column `left` and row `top`, which may be negative."""

    drawing: Array
    left: int
    top: int

    def opacity(self, width: int, height: int) -> Array:
        """Return its opacity over a whole image, `(height, width)` float32 in [0, 1]."""
        whole = np.zeros((height, width), np.float32)
        visible, part = _overlap(self, width, height)
        whole[visible] = self.drawing[part][..., 3] / np.float32(255)
        return whole


def place(drawing: Array, centre: Array, angle: float, scale: tuple[float, float]) -> Placed:
    """Scale a drawing along its x and y, rotate it by `angle` (radians, clockwise as displayed) and move its centre to
    `centre` (continuous pixels)."""
    while min(scale) < 0.6:  # shrink by averaging first: bilinear sampling alone would alias
        height, width = drawing.shape[:2]
        drawing = cv2.resize(drawing, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
        scale = (scale[0] * width / drawing.shape[1], scale[1] * height / drawing.shape[0])
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos * scale[0], -sin * scale[1]], [sin * scale[0], cos * scale[1]]])
    height, width = drawing.shape[:2]
    half = np.abs(linear) @ [width / 2, height / 2]
    left, top = np.floor(np.asarray(centre) - half - 1).astype(int).tolist()
    right, bottom = np.ceil(np.asarray(centre) + half + 1).astype(int).tolist()
    # OpenCV counts from pixel centres, this module from pixel corners: half a pixel on both sides.
    shift = np.asarray(centre) - [left, top] - linear @ [width / 2 - 0.5, height / 2 - 0.5] - 0.5
    matrix = np.concatenate([linear, shift[:, None]], axis=1)
    return Placed(cv2.warpAffine(drawing, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR), left, top)


def lay(image: Array, placed: Placed, shadow: float, light: float) -> None:
    """Draw onto `image` `(H, W, 3)` float32 in place, over a shadow `shadow` pixels long (0 for none) that points away
    from the `light` (radians)."""
    height, width = image.shape[:2]
    if shadow > 0:
        margin = int(1.7 * shadow) + 2  # three sigmas of the blur
        shade = np.pad(placed.drawing[..., 3], margin)
        shade = cv2.GaussianBlur(shade, (0, 0), 0.25 + shadow * 0.55)
        dx, dy = round(-shadow * np.cos(light)), round(-shadow * np.sin(light))
        under = Placed(shade, placed.left - margin + dx, placed.top - margin + dy)
        visible, part = _overlap(under, width, height)
        if image[visible].size:
            image[visible] *= per_channel(1 - shade[part] * np.float32(0.62 / 255))
    visible, part = _overlap(placed, width, height)
    if image[visible].size:
        drawing = placed.drawing[part]
        image[visible] *= per_channel(1 - drawing[..., 3] / np.float32(255))
        image[visible] += drawing[..., :3]


def per_channel(values: Array) -> Array:
    """Repeat `(H, W)` as three channels `(H, W, 3)`: several times faster to multiply by than broadcasting."""
    return cv2.merge([values, values, values])


def _overlap(placed: Placed, width: int, height: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the rows and columns of the image, and of the drawing, where the two overlap."""
    h, w = placed.drawing.shape[:2]
    x0, x1 = max(placed.left, 0), max(min(placed.left + w, width), max(placed.left, 0))
    y0, y1 = max(placed.top, 0), max(min(placed.top + h, height), max(placed.top, 0))
    inside = (slice(y0 - placed.top, y1 - placed.top), slice(x0 - placed.left, x1 - placed.left))
    return (slice(y0, y1), slice(x0, x1)), inside
