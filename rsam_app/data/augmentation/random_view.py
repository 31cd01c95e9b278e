"""Random views for training: from an image to a network input, and the exact affine map back to the image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rsam_app.config import AugmentConfig
from rsam_app.data.images.decoding import resize

if TYPE_CHECKING:
    from rsam_app.data.augmentation.named_transforms import Entries, NamedTransforms

CropBox = tuple[int, int, int, int]
"""Left, upper, right and lower edge, whole pixels."""

ASPECT_RATIOS = (3 / 4, 4 / 3)
"""Range of a crop's width divided by its height."""

CROP_ATTEMPTS = 10

FILL = (124, 116, 104)
"""The colour outside a rotated image: ImageNet's mean."""

COLOUR_CHANCE = 0.8
"""Share of the views whose colours change."""

LARGEST_HUE_TURN = 0.02
"""Largest change of hue either way, in turns of the colour circle."""

LUMA = np.array([0.299, 0.587, 0.114])
TO_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""ITU-R BT.601 luma and the two colour differences of NTSC; a rotation in their plane changes the hue."""
FROM_YIQ = np.linalg.inv(TO_YIQ)


def whole_image(image: np.ndarray, size: int, displayed: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole image as `(size, size, 3)`, and the map `(2, 3)` from its pixels to the displayed image's."""
    to_image = np.array([[displayed[0] / size, 0, 0], [0, displayed[1] / size, 0]], dtype=np.float32)
    return resize(image, size, size), to_image


class TrainAugment:
    """Random views for training. The draws depend only on the seed given with each image.

    Crop, flip, rotation and colours take two passes over few pixels (ours; albumentations takes ten times as long for
    the same). Transforms that the pipeline names use albumentations. Raises `UserError` for a name or argument that
    cannot be used.
    """

    def __init__(self, config: AugmentConfig, size: int) -> None:
        self.config, self.size = config, size
        entries, key = (config.extra, "extra") if config.transforms is None else (config.transforms, "transforms")
        self.named = _named_transforms(entries, key) if entries else None

    def __call__(
        self, image: np.ndarray, displayed: tuple[int, int], seed: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a view `(size, size, 3)` of `image`, and the map `(2, 3)` from its pixels to the displayed image's."""
        draws = np.random.default_rng(seed)
        to_image = np.diag([displayed[0] / image.shape[1], displayed[1] / image.shape[0], 1.0])
        if self.named:
            image, to_before = self.named(image, draws)
            to_image = to_image @ to_before
        if self.config.transforms is None:
            view, to_before = self._random(image, draws)
        else:
            view, to_before = view_of(image, (0, 0, image.shape[1], image.shape[0]), self.size)
        return view, (to_image @ to_before)[:2].astype(np.float32)

    def _random(self, image: np.ndarray, draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        config = self.config
        box = draw_crop(draws, image.shape[1], image.shape[0], config.min_scale)
        flip, rotation = draws.random(2).tolist()
        degrees = config.rotate * (2 * rotation - 1)
        view, to_image = view_of(image, box, self.size, config.flip and flip < 0.5, degrees)
        colours = draw_colours(draws, config.color) if config.color else None
        return (change_colours(view, *colours) if colours else view), to_image


def _named_transforms(entries: Entries, key: str) -> NamedTransforms:
    from rsam_app.data.augmentation.named_transforms import NamedTransforms  # albumentations takes seconds to import

    return NamedTransforms(entries, f"train.augment.{key}")


def draw_crop(draws: np.random.Generator, width: int, height: int, min_scale: float) -> CropBox:
    """Draw a random crop of a `width × height` image, with a share of its area in [min_scale, 1].

    Area and aspect ratio are drawn as in Inception's training (Szegedy et al., CVPR 2015); if no draw fits, the crop is
    the largest centred one with an allowed aspect ratio.
    """
    for _ in range(CROP_ATTEMPTS):
        share, log_ratio, x, y = draws.random(4).tolist()
        area = width * height * (min_scale + share * (1 - min_scale))
        ratio = math.exp(math.log(ASPECT_RATIOS[0]) + log_ratio * math.log(ASPECT_RATIOS[1] / ASPECT_RATIOS[0]))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(x * (width - w + 1)), int(y * (height - h + 1))
            return left, upper, left + w, upper + h
    w = max(1, min(width, round(height * ASPECT_RATIOS[1])))
    h = max(1, min(height, round(width / ASPECT_RATIOS[0])))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


def view_of(
    image: np.ndarray, box: CropBox, size: int, flip: bool = False, degrees: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return a view `(size, size, 3)` of `image` `(H, W, 3)`, and the map `(3, 3)` from its pixels to the image's.

    The image is rotated about its centre by `degrees`, clockwise as displayed, flipped horizontally, and then cropped.
    """
    left, upper, right, lower = box
    to_crop = np.array([[(right - left) / size, 0, left], [0, (lower - upper) / size, upper], [0, 0, 1]])
    width, height = image.shape[1], image.shape[0]
    if degrees:
        to_image = _undo_rotation(width, height, flip, degrees) @ to_crop
        return _sample(image, to_image, size), to_image
    if flip:  # crop the mirrored box and flip the view, which is smaller than the image
        left, right = width - right, width - left
    view = resize(image[upper:lower, left:right], size, size)
    unflip = np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]]) if flip else np.eye(3)
    return (cv2.flip(view, 1) if flip else view), unflip @ to_crop


def _undo_rotation(width: int, height: int, flip: bool, degrees: float) -> np.ndarray:
    """Return the map `(3, 3)` from a rotated and flipped image's pixels to the image's."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rotation = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    centre = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    mirror = np.diag([-1.0 if flip else 1.0, 1.0, 1.0])
    return np.asarray(centre @ rotation @ mirror @ np.linalg.inv(centre))


def _sample(image: np.ndarray, to_image: np.ndarray, size: int) -> np.ndarray:
    """Return the view's pixels. An image that shrinks is first shrunk antialiased; bilinear sampling then suffices."""
    steps = np.linalg.norm(to_image[:2, :2], axis=1)  # source pixels per pixel of the view, along x and y of the source
    width, height = (max(1, round(n / max(1.0, s))) for n, s in zip(image.shape[1::-1], steps, strict=True))
    small = resize(image, width, height)
    to_small = np.diag([width / image.shape[1], height / image.shape[0], 1.0]) @ to_image
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    by_index = (np.linalg.inv(half) @ to_small @ half)[:2]  # OpenCV counts from the centre of the first pixel
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(small, by_index, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=FILL)


def draw_colours(draws: np.random.Generator, strength: float) -> tuple[float, float, float, float] | None:
    """Draw factors of brightness, contrast and saturation in `1 ± strength`, and a hue turn; None for no change."""
    brightness, contrast, saturation, hue, chance = draws.random(5).tolist()
    if chance >= COLOUR_CHANCE:
        return None
    factors = [1 + strength * (2 * u - 1) for u in (brightness, contrast, saturation)]
    return factors[0], factors[1], factors[2], LARGEST_HUE_TURN * (2 * hue - 1)


def change_colours(view: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float) -> np.ndarray:
    """Change the colours of `view` `(H, W, 3)` uint8 RGB; clipped once, at the end.

    Each change is linear in RGB, so all four are one matrix: brightness scales, contrast moves away from the mean grey,
    saturation away from each pixel's own grey, and hue rotates about the grey axis. (ours; Pillow's enhancers clip
    after each change)
    """
    angle = 2 * math.pi * hue
    cos, sin = saturation * math.cos(angle), saturation * math.sin(angle)
    colours = FROM_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ TO_YIQ
    mean = brightness * float(LUMA @ cv2.mean(view[::4])[:3])  # every fourth row estimates the mean well enough
    matrix = np.column_stack([brightness * contrast * colours, np.full(3, (1 - contrast) * mean)])
    return cv2.transform(view, matrix.astype(np.float32))
