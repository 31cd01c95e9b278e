"""Random crops: which part of an image, perhaps turned or mirrored, becomes a view, and its pixels, unaliased."""

from __future__ import annotations

import math

import cv2
import numpy as np

from rsam_app.data.images import resize

FILL = (124, 116, 104)
"""What lies outside a turned image: ImageNet's mean colour."""

RATIOS = (3 / 4, 4 / 3)
"""Between which width by height of a crop lies."""

ATTEMPTS = 10

CropBox = tuple[int, int, int, int]
"""Left, upper, right and lower edge, whole pixels."""


def draw_crop(draws: np.random.Generator, width: int, height: int, min_scale: float) -> CropBox:
    """A part of a `width × height` image with a share of its area in [min_scale, 1] and a ratio of sides in `RATIOS`,
    both drawn as in Inception's training (Szegedy et al., CVPR 2015); where none fits, the largest of allowed ratio."""
    for _ in range(ATTEMPTS):
        share, log_ratio, x, y = draws.random(4).tolist()
        area = width * height * (min_scale + share * (1 - min_scale))
        ratio = math.exp(math.log(RATIOS[0]) + log_ratio * math.log(RATIOS[1] / RATIOS[0]))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(x * (width - w + 1)), int(y * (height - h + 1))
            return left, upper, left + w, upper + h
    w = max(1, min(width, round(height * RATIOS[1])))
    h = max(1, min(height, round(width / RATIOS[0])))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


def view_of(
    image: np.ndarray, box: CropBox, size: int, mirror: bool = False, degrees: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The view `(size, size, 3)` of a part of `image` `(H, W, 3)`, and the map `(3, 3)` from its pixels to the image's.

    The image is turned about its centre by `degrees`, clockwise as displayed, mirrored, and then cut.
    """
    left, upper, right, lower = box
    to_part = np.array([[(right - left) / size, 0, left], [0, (lower - upper) / size, upper], [0, 0, 1]])
    width, height = image.shape[1], image.shape[0]
    if not degrees:
        if mirror:  # the part lies mirrored in the image; a small view is mirrored more quickly than an image
            left, right = width - right, width - left
        view = resize(image[upper:lower, left:right], size, size)
        unmirror = np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]) if mirror else np.eye(3)
        return (cv2.flip(view, 1) if mirror else view), unmirror @ to_part
    to_image = _turn_back(width, height, mirror, degrees) @ to_part
    return _sample(image, to_image, size), to_image


def _turn_back(width: int, height: int, mirror: bool, degrees: float) -> np.ndarray:
    """From a turned and mirrored image's pixels to those of the image."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    centre = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    flip = np.diag([-1.0 if mirror else 1.0, 1.0, 1.0])
    return centre @ turn @ flip @ np.linalg.inv(centre)


def _sample(image: np.ndarray, to_image: np.ndarray, size: int) -> np.ndarray:
    """The pixels of a view; what shrinks is shrunk first, antialiased, and neighbours then suffice."""
    steps = np.linalg.norm(to_image[:2, :2], axis=1)  # source pixels per pixel of the view, along x and y of the source
    width, height = (max(1, round(n / max(1.0, s))) for n, s in zip(image.shape[1::-1], steps, strict=True))
    small = resize(image, width, height)
    to_small = np.diag([width / image.shape[1], height / image.shape[0], 1.0]) @ to_image
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    by_index = (np.linalg.inv(half) @ to_small @ half)[:2]  # OpenCV counts from the centre of the first pixel
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(small, by_index, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=FILL)
