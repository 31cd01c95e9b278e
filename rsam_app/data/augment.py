"""From an image to a network input, and the affine map back: every pixel's way is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsam_app.config import AugmentConfig
from rsam_app.data.colour import change_colour, draw_colour
from rsam_app.data.crop import draw_crop, view_of
from rsam_app.data.images import resize

if TYPE_CHECKING:
    from rsam_app.data.transforms import Entries, NamedTransforms


def whole_image(image: np.ndarray, size: int, displayed: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The whole image as `(size, size, 3)`, and the map `(2, 3)` from its pixels to those of the displayed image."""
    to_image = np.array([[displayed[0] / size, 0, 0], [0, displayed[1] / size, 0]], dtype=np.float32)
    return resize(image, size, size), to_image


class TrainAugment:
    """Random views for training. The draws depend on the seed given with each image and on nothing else.

    Crop, mirror, turn and colours are ours, in two passes over few pixels; albumentations, which takes ten times as
    long for the same, makes what a pipeline names. Raises `UserError` where it names what cannot be used.
    """

    def __init__(self, config: AugmentConfig, size: int) -> None:
        self.config, self.size = config, size
        listed, key = (config.extra, "extra") if config.transforms is None else (config.transforms, "transforms")
        self.named = _named(listed, key) if listed else None

    def __call__(
        self, image: np.ndarray, displayed: tuple[int, int], seed: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """A view `(size, size, 3)` of `image`, and the map `(2, 3)` from its pixels to those of the displayed image."""
        draws = np.random.default_rng(seed)
        to_image = np.diag([displayed[0] / image.shape[1], displayed[1] / image.shape[0], 1.0])
        if self.named:
            image, to_before = self.named(image, draws)
            to_image = to_image @ to_before
        view, to_before = self._whole(image) if self.config.transforms is not None else self._random(image, draws)
        return view, (to_image @ to_before)[:2].astype(np.float32)

    def _whole(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = image.shape[:2]
        return resize(image, self.size, self.size), np.diag([width / self.size, height / self.size, 1.0])

    def _random(self, image: np.ndarray, draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        config = self.config
        box = draw_crop(draws, image.shape[1], image.shape[0], config.min_scale)
        mirror, turn = draws.random(2).tolist()
        degrees = config.rotate * (2 * turn - 1)
        view, to_image = view_of(image, box, self.size, config.flip and mirror < 0.5, degrees)
        colours = draw_colour(draws, config.color) if config.color else None
        return (change_colour(view, *colours) if colours else view), to_image


def _named(listed: Entries, key: str) -> NamedTransforms:
    from rsam_app.data.transforms import NamedTransforms  # albumentations takes seconds to import

    return NamedTransforms(listed, f"train.augment.{key}")
