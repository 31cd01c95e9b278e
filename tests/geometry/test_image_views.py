"""Warping compared with exact pixels."""

from __future__ import annotations

import math

import pytest
import torch

from rsam_app.geometry.image_views import flip, turn, warp, zoom


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def test_a_flip_and_a_quarter_turn_move_whole_pixels(noise: torch.Tensor) -> None:
    torch.testing.assert_close(warp(noise, flip(24)), noise.flip(3), atol=2e-4, rtol=0)
    # Clockwise as displayed: what is above goes to the right.
    torch.testing.assert_close(warp(noise, turn(24, math.pi / 2)), noise.rot90(-1, (2, 3)), atol=2e-4, rtol=0)


def test_a_crop_of_whole_pixels_enlarged_twice_agrees_with_interpolation(noise: torch.Tensor) -> None:
    seen = warp(noise, zoom(24, 2.0, (0.5, 0.5)))
    expected = torch.nn.functional.interpolate(noise, scale_factor=2, mode="bilinear")[:, :, 12:36, 12:36]
    torch.testing.assert_close(seen, expected, atol=1e-4, rtol=0)


def test_what_is_outside_is_the_mean_colour(noise: torch.Tensor) -> None:
    shrunk = warp(noise, zoom(24, 0.5))
    assert (shrunk[:, :, :5] == 0).all()
    assert (shrunk[:, :, 8:16, 8:16] != 0).all()
