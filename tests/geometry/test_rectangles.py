"""Rectangle geometry against independent references: Monte-Carlo areas, matrix algebra, symmetry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsam_app.geometry import rectangles as geometry

RECTANGLES = st.tuples(
    st.floats(-50, 300), st.floats(-50, 300), st.floats(2, 200), st.floats(2, 200), st.floats(-1.57, 1.57)
)


def as_batch(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-6) -> bool:
    """Return whether two rectangles are equal: the same corners, in any order."""
    distances = torch.cdist(geometry.corners(a)[0], geometry.corners(b)[0])
    return bool(distances.amin(dim=1).max() < tolerance and distances.amin(dim=0).max() < tolerance)


def turn(angle: float, shift: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[[c, -s, shift[0]], [s, c, shift[1]]]], dtype=torch.float64)


def test_corners_of_a_quarter_turn_swap_width_and_height():
    upright = geometry.corners(as_batch((10, 20, 6, 2, 0.0)))[0]
    assert torch.allclose(upright, torch.tensor([[7.0, 19], [13, 19], [13, 21], [7, 21]], dtype=torch.float64))
    boxes = geometry.bounding_boxes(as_batch((10, 20, 6, 2, -math.pi / 2)))[0]
    assert torch.allclose(boxes, torch.tensor([9.0, 17, 2, 6], dtype=torch.float64))


def test_positive_angles_turn_clockwise_as_displayed():
    along, _ = geometry.axes(as_batch((0, 0, 2, 1, math.pi / 4)))
    assert along[0, 0] > 0 and along[0, 1] > 0  # to the right and down


@given(RECTANGLES, st.floats(-20, 20))
@settings(deadline=None, max_examples=50)
def test_canonical_keeps_the_rectangle_and_bounds_the_angle(values, turns):
    turned = as_batch((*values[:4], values[4] + math.pi * round(turns)))
    result = geometry.canonical(turned)
    assert -math.pi / 2 <= result[0, 4] < math.pi / 2
    assert same(result, as_batch(values), 1e-4)


@given(RECTANGLES, st.floats(-3, 3), st.floats(0.1, 5), st.booleans())
@settings(deadline=None, max_examples=80)
def test_similarities_carry_corners_exactly(values, angle, scale, mirrored):
    affine = turn(angle, (7.0, -3.0))
    affine[:, :, :2] *= scale
    if mirrored:
        affine[:, :, 0] *= -1
    rectangle = as_batch(values)
    moved = geometry.corners(rectangle) @ affine[:, :, :2].transpose(1, 2) + affine[:, None, :, 2]
    result = geometry.corners(geometry.transform(rectangle, affine))
    assert torch.cdist(moved[0], result[0]).amin(dim=1).max() < 1e-6


@given(RECTANGLES, st.floats(0.2, 5), st.floats(0.2, 5))
@settings(deadline=None, max_examples=50)
def test_any_scaling_keeps_centre_and_area_and_is_exact_when_upright(values, scale_x, scale_y):
    affine = geometry.scaling(scale_x, scale_y, torch.zeros(1, dtype=torch.float64))
    result = geometry.transform(as_batch(values), affine)[0]
    area = values[2] * values[3] * scale_x * scale_y
    assert float(result[2] * result[3]) == pytest.approx(area, rel=1e-6)
    assert result[:2].tolist() == pytest.approx([values[0] * scale_x, values[1] * scale_y])
    upright = geometry.transform(as_batch((*values[:4], 0.0)), affine)[0]
    assert upright[2:].tolist() == pytest.approx([values[2] * scale_x, values[3] * scale_y, 0.0], abs=1e-9)


@given(RECTANGLES, st.floats(-3, 3), st.floats(0.3, 3))
@settings(deadline=None, max_examples=50)
def test_there_and_back_is_the_same_rectangle(values, angle, scale):
    affine = turn(angle, (40.0, 9.0))
    affine[:, :, :2] *= scale
    there = geometry.transform(as_batch(values), affine)
    assert same(geometry.transform(there, geometry.invert(affine)), as_batch(values), 1e-5)
    identity = geometry.compose(geometry.invert(affine), affine)[0]
    assert torch.allclose(identity, torch.eye(3, dtype=torch.float64)[:2], atol=1e-9)


@given(RECTANGLES)
@settings(deadline=None, max_examples=30)
def test_a_sharp_mask_is_the_rectangle(values):
    """A cell is 1 exactly if its centre is inside by the half planes between the corners."""
    rectangle = as_batch(values)
    mask = geometry.soft_mask(rectangle, 60, 90, softness=1e-4)[0]
    points = geometry.cell_centres(60, 90, rectangle)
    corners = geometry.corners(rectangle)[0]
    inside = torch.ones(60, 90, dtype=torch.bool)
    for i in range(4):
        edge = corners[(i + 1) % 4] - corners[i]
        offset = points - corners[i]
        inside &= edge[0] * offset[..., 1] - edge[1] * offset[..., 0] > 0
    assert (mask.round().bool() != inside).double().mean() < 2e-3


def test_mask_turns_with_the_rectangle_on_a_map_that_is_not_square():
    wide = geometry.soft_mask(torch.tensor([[6.0, 4.0, 6.0, 2.0, 0.0]]), 8, 12)
    tall = geometry.soft_mask(torch.tensor([[4.0, 6.0, 6.0, 2.0, -math.pi / 2]]), 12, 8)
    assert torch.allclose(wide[0], tall[0].T, atol=1e-6)


def test_mask_is_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        mask = geometry.soft_mask(torch.tensor([[3.0, 3.0, 2.0, 2.0, 0.1]], dtype=torch.bfloat16), 7, 7)
    assert mask.dtype == torch.float32


def test_maps_and_moments_keep_float32_under_autocast():
    draws = torch.Generator().manual_seed(0)
    rectangles = torch.rand(20, 5, generator=draws) * torch.tensor([200.0, 200, 90, 90, 1])
    affine = torch.eye(2, 3) + torch.rand(20, 2, 3, generator=draws)
    weights = torch.rand(20, 9, 9, generator=draws)

    def all_of_them() -> list[torch.Tensor]:
        moved = geometry.transform(rectangles, affine)
        rescaled = geometry.rescale(rectangles, (7, 7), (224, 224))
        maps = [geometry.invert(affine), geometry.compose(affine, affine)]
        return [moved, rescaled, *maps, geometry.from_moments(weights)]

    exact = all_of_them()
    with torch.autocast("cpu", torch.bfloat16):
        for found, wanted in zip(all_of_them(), exact, strict=True):
            assert torch.equal(found, wanted)


@given(st.floats(18, 42), st.floats(18, 42), st.floats(1.5, 4), st.floats(10, 20), st.floats(-1.5, 1.5))
@settings(deadline=None, max_examples=40)
def test_moments_of_a_rendered_rectangle_give_it_back(cx, cy, aspect, height, angle):
    width = aspect * height  # for a near square the grid decides the angle
    rectangle = torch.tensor([[cx, cy, width, height, angle]], dtype=torch.float64)
    mask = geometry.soft_mask(
        rectangle + torch.tensor([20.0, 20, 0, 0, 0]), 120, 120, softness=0.4
    )  # smooth, or the grid would decide
    found = geometry.from_moments(mask)
    expected = rectangle + torch.tensor([20.0, 20, 0, 0, 0])
    assert same(found, expected, 1.0)


def test_moments_are_equivariant_to_quarter_turns_mirrors_and_shifts():
    torch.manual_seed(0)
    weights = torch.rand(3, 9, 9, dtype=torch.float64) ** 6
    found = geometry.from_moments(weights)
    mirrored = geometry.from_moments(weights.flip(2))
    to_mirror = torch.tensor([[[-1.0, 0, 9], [0, 1, 0]]], dtype=torch.float64).expand(3, 2, 3)
    turned = geometry.from_moments(weights.rot90(-1, (1, 2)))
    to_turn = torch.tensor([[[0.0, -1, 9], [1, 0, 0]]], dtype=torch.float64).expand(3, 2, 3)
    for i in range(3):
        assert same(geometry.transform(found, to_mirror)[i : i + 1], mirrored[i : i + 1], 1e-6)
        assert same(geometry.transform(found, to_turn)[i : i + 1], turned[i : i + 1], 1e-6)


def test_moments_of_nothing_and_of_an_even_map_are_the_whole_map():
    for value in (0.0, 0.3):
        found = geometry.from_moments(torch.full((1, 6, 10), value, dtype=torch.float64))
        assert same(found, as_batch((5, 3, 10, 6, 0.0)), 1e-5)


def test_gradients_are_right_and_finite():
    rectangle = torch.tensor([[3.1, 2.7, 3.3, 2.2, 0.4], [4.0, 3.0, 8.0, 6.0, 0.0]], dtype=torch.float64)
    rectangle.requires_grad_()
    assert torch.autograd.gradcheck(lambda r: geometry.soft_mask(r, 6, 8), rectangle)
    weights = torch.rand(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(geometry.from_moments, weights)
    even = torch.ones(1, 5, 5, requires_grad=True)  # without any direction
    geometry.from_moments(even).sum().backward()
    assert torch.isfinite(even.grad).all()
