"""The second look's crop: its content, and its gradient with respect to the rectangle."""

from __future__ import annotations

import pytest
import torch

from rsam_app.model.attention.second_look import CONTEXT, SMALLEST, shrunk, upright_crop


def ramp(height: int, width: int) -> torch.Tensor:
    """An image `(1, 2, H, W)` whose channels are the x and y of its pixels' centres."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])[None].double()


@pytest.mark.parametrize("context", [1.0, 1.2])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 96)])
def test_the_whole_image_is_itself(height, width, context):
    image = ramp(height, width)
    rectangle = torch.tensor([[width / 2, height / 2, width, height, 0.0]], dtype=torch.float64)
    assert torch.allclose(upright_crop(image, rectangle, height, width, context), image, atol=1e-6)


@pytest.mark.parametrize("context", [CONTEXT, 1.2])
def test_shows_the_window_around_the_box_in_the_images_proportions(context):
    image = ramp(80, 160)
    rectangle = torch.tensor([[70.0, 40.0, 80.0, 16.0, 0.0]], dtype=torch.float64)
    crop = upright_crop(image, rectangle, 20, 20, context)
    share = context * 80 / 160
    expected = 70 + 160 * share * ((torch.arange(20) + 0.5) / 20 - 0.5)
    assert torch.allclose(crop[0, 0, 3], expected.double(), atol=1e-6)
    expected = 40 + 80 * share * ((torch.arange(20) + 0.5) / 20 - 0.5)
    assert torch.allclose(crop[0, 1, :, 5], expected.double(), atol=1e-6)


def test_a_quarter_turn_with_swapped_sides_is_the_same_rectangle():
    image = torch.rand(1, 3, 64, 64)
    one = upright_crop(image, torch.tensor([[30.0, 30, 30, 16, 0]]), 24, 24)
    other = upright_crop(image, torch.tensor([[30.0, 30, 16, 30, torch.pi / 2]]), 24, 24)
    assert torch.allclose(one, other, atol=1e-4)


def test_stays_inside_the_image_and_never_closer_than_the_smallest():
    image = ramp(64, 64)
    at_corner = upright_crop(image, torch.tensor([[2.0, 62.0, 6.0, 6.0, 0.3]], dtype=torch.float64), 16, 16)
    side = 64 * SMALLEST
    assert at_corner[0, 0].min() > 0 and at_corner[0, 0].max() < side
    assert at_corner[0, 1].min() > 64 - side and at_corner[0, 1].max() < 64


def test_gradients_reach_the_rectangle():
    draws = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(2, 1, 5, 5, generator=draws).double(), (40, 40), mode="bicubic")
    rectangles = torch.tensor([[20.3, 17.2, 17.1, 9.3, 0.2], [15.1, 22.7, 11.3, 18.2, -0.9]], dtype=torch.float64)
    rectangles.requires_grad_()
    upright_crop(smooth, rectangles, 12, 12).square().sum().backward()
    assert torch.isfinite(rectangles.grad).all() and (rectangles.grad[:, :2].abs() > 0).all()


def test_shrinking_takes_means_of_blocks():
    images = torch.rand(2, 3, 8, 12, dtype=torch.float64)
    for by in (2, 4):
        blocks = images.reshape(2, 3, 8 // by, by, 12 // by, by).mean(dim=(3, 5))
        for layout in (torch.contiguous_format, torch.channels_last):
            small = shrunk(images.contiguous(memory_format=layout), by)
            assert torch.allclose(small, blocks, atol=1e-12)
            assert small.is_contiguous(memory_format=layout)
