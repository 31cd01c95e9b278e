"""From a decoded image to a network input, and the affine map back: every pixel's way is known."""

from __future__ import annotations

import random
from typing import Any

import albumentations as A
import cv2
import numpy as np

from rsam_app.config import AugmentConfig
from rsam_app.data.images import resize
from rsam_app.errors import UserError

FILL = (124, 116, 104)
"""What lies outside a turned image: ImageNet's mean colour."""


def whole_image(image: np.ndarray, size: int, displayed: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The whole image as `(size, size, 3)`, and the map `(2, 3)` from its pixels to those of the displayed image."""
    to_image = np.array([[displayed[0] / size, 0, 0], [0, displayed[1] / size, 0]], dtype=np.float32)
    return resize(image, size, size), to_image


class TrainAugment:
    """Random views for training. The draws depend on the seed given with each image and on nothing else.

    Geometry runs in two stages, because albumentations' keypoints mean pixel *indices* in flips and turns and
    *continuous* coordinates in crops and resizes; mixing them shifts rectangles by up to a pixel.
    """

    def __init__(self, config: AugmentConfig, size: int) -> None:
        extra = [_named_transform(entry) for entry in config.extra]
        turn = [A.Affine(rotate=(-config.rotate, config.rotate), fill=FILL, p=1.0)] if config.rotate else []
        flip = [A.HorizontalFlip(p=0.5)] if config.flip else []
        color = A.ColorJitter(*(((1 - config.color, 1 + config.color),) * 3), hue=(-0.02, 0.02), p=0.8)
        crop = A.RandomResizedCrop(
            (size, size), scale=(config.min_scale, 1.0), ratio=(3 / 4, 4 / 3), interpolation=cv2.INTER_AREA
        )
        points = A.KeypointParams(format="xy", remove_invisible=False)
        # seed=None: an integer would give every child the same stream, and a flip would always come with its twin.
        self.by_index = A.Compose([*extra, *turn, *flip], keypoint_params=points, seed=None)
        self.continuous = A.Compose([crop, *([color] if config.color else [])], keypoint_params=points, seed=None)

    def __call__(
        self, image: np.ndarray, displayed: tuple[int, int], seed: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """A view `(size, size, 3)` of `image`, and the map `(2, 3)` from its pixels to those of the displayed image."""
        for stage, compose in enumerate((self.by_index, self.continuous)):
            draws = np.random.default_rng((*seed, stage))
            compose.set_random_state(draws, random.Random(int(draws.integers(2**62))))
        height, width = image.shape[:2]
        corners = np.array([[0, 0], [width, 0], [0, height]], dtype=np.float64)
        first = self.by_index(image=image, keypoints=corners - 0.5)
        second = self.continuous(image=first["image"], keypoints=np.asarray(first["keypoints"]) + 0.5)
        view = np.column_stack([np.asarray(second["keypoints"], dtype=np.float64), np.ones(3)])
        shown = corners * (displayed[0] / width, displayed[1] / height)
        to_image = np.linalg.solve(view, shown).T
        return second["image"], to_image.astype(np.float32)


def _named_transform(entry: dict[str, dict[str, Any]]) -> A.BasicTransform:
    if len(entry) != 1:
        raise UserError(f"train.augment.extra: {entry}: expected one albumentations name per item, `- Name: {{…}}`.")
    name, arguments = next(iter(entry.items()))
    transform = getattr(A, name, None)
    if not (isinstance(transform, type) and issubclass(transform, A.BasicTransform)):
        raise UserError(f"train.augment.extra: albumentations {A.__version__} has no transform {name!r}.")
    try:
        return transform(**(arguments or {}))
    except (TypeError, ValueError) as error:
        raise UserError(f"train.augment.extra: {name}: {' '.join(str(error).split())}") from error
