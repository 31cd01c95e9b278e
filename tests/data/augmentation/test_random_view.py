"""Random views: independent draws, and an affine map that is true to the pixel."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rsam_app.config import AugmentConfig
from rsam_app.data.augmentation.random_view import TrainAugment, whole_image
from rsam_app.system.errors import UserError


@pytest.mark.parametrize("seed", range(12))
def test_the_map_of_a_view_is_what_happened_to_its_pixels(seed, ramp):
    width, height, size = 320, 240, 96
    config = AugmentConfig(min_scale=0.3, rotate=25, color=0.0)
    view, to_image = TrainAugment(config, size)(ramp(width, height), (width, height), (seed,))
    inside = (view[..., 2] == 0) & (view[..., :2].min(axis=2) > 3)  # not the fill colour beyond the edges
    inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5))).astype(bool)
    rows, columns = np.nonzero(inside)
    mapped = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=1) @ to_image.T
    shown = view[rows, columns, :2] * (width / 250, height / 250)
    assert len(rows) > 500
    assert np.abs((mapped - shown).mean(axis=0)).max() < 0.4  # pixels of the image; an index slip would be 0.5 to 1
    assert np.abs(mapped - shown).mean() < 1.0


def test_the_map_reaches_the_displayed_image_when_the_decoder_shrank_it(ramp):
    shrunk, displayed = ramp(160, 120), (640, 480)
    _, to_image = whole_image(shrunk, 64, displayed)
    assert np.allclose(to_image @ [64, 64, 1], displayed)
    _, to_image = TrainAugment(AugmentConfig(min_scale=1.0, flip=False, color=0), 64)(shrunk, displayed, (0,))
    corner = to_image @ [0, 0, 1]
    assert (np.abs(corner) < 160).all()
    assert np.abs(to_image[:, :2]).max() > 4  # whole image or nearly: ten displayed pixels per input pixel


def test_draws_depend_on_seed_epoch_and_index_alone_and_are_independent(ramp):
    """Flip and crop are independent over many samples; one shared stream would tie them."""
    augment = TrainAugment(AugmentConfig(color=0), 16)
    image = ramp(64, 64)
    seen = [augment(image, (64, 64), (0, 0, i))[1] for i in range(400)]
    again = [augment(image, (64, 64), (0, 0, i))[1] for i in (7, 3, 11)]
    assert all(np.array_equal(a, seen[i]) for a, i in zip(again, (7, 3, 11), strict=True))
    flipped = np.array([m[0, 0] < 0 for m in seen])
    area = np.array([abs(m[0, 0] * m[1, 1]) for m in seen])
    assert 0.4 < flipped.mean() < 0.6
    assert abs(np.corrcoef(flipped, area)[0, 1]) < 0.15
    other_epoch = augment(image, (64, 64), (0, 1, 7))[1]
    assert not np.array_equal(other_epoch, seen[7])


def test_an_unknown_augmentation_is_named():
    with pytest.raises(UserError, match="GausianBlur"):
        TrainAugment(AugmentConfig(extra=[{"GausianBlur": {}}]), 32)
