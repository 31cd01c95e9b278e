"""Signals without a target: their zeros, their growth and their gradients."""

from __future__ import annotations

import math

import pytest
import torch

from rsam_app.geometry import rectangles as geometry
from rsam_app.training import losses

RECTANGLES = torch.tensor([[30.0, 40, 20, 10, 0.3], [50, 20, 16, 24, -1.0]], dtype=torch.float64)


def test_equivariance_is_zero_if_the_rectangle_moves_with_the_image():
    turn = torch.tensor([[[0.0, -0.8, 90], [0.8, 0, 5]], [[-1.1, 0, 70], [0, 1.1, 0]]], dtype=torch.float64)
    moved = geometry.transform(RECTANGLES, turn)
    assert losses.equivariance(RECTANGLES, moved, turn, 96).abs().max() < 2e-3
    assert losses.equivariance(RECTANGLES, RECTANGLES, turn, 96).min() > 0.3


def test_outside_suffices_is_the_missing_entropy():
    sure, torn = torch.tensor([[50.0, 0, 0, 0]]), torch.zeros(1, 4)
    assert float(losses.outside_suffices(sure)) == pytest.approx(1, abs=1e-6)
    assert float(losses.outside_suffices(torn)) == pytest.approx(0, abs=1e-6)
    halves = torch.tensor([[40.0, 40, 0, 0]])
    assert float(losses.outside_suffices(halves)) == pytest.approx(1 - math.log(2) / math.log(4), abs=1e-6)


def test_area_is_the_share_and_border_the_overshoot():
    assert torch.allclose(losses.area(RECTANGLES, 100), torch.tensor([0.02, 0.0384]).double())
    assert float(losses.border(RECTANGLES, 96).max()) == 0
    out = torch.tensor([[0.0, 50, 20, 10, 0]], dtype=torch.float64)  # two corners, 10 px past the left edge
    assert float(losses.border(out, 100)) == pytest.approx(2 * 0.1**2 / 4)


@pytest.mark.parametrize("term", ["area", "border"])
def test_gradcheck(term):
    rectangles = torch.cat([RECTANGLES, torch.tensor([[2.0, 95, 30, 20, 0.5]], dtype=torch.float64)]).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: getattr(losses, term)(r, 96), rectangles)


def test_gradcheck_of_equivariance():
    to_view = torch.tensor([[[0.7, -0.2, 9], [0.2, 0.7, 5]]], dtype=torch.float64).expand(2, 2, 3)
    views = RECTANGLES.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda r: losses.equivariance(RECTANGLES, r, to_view, 96), views)


def test_the_other_view_matches_its_map():
    """The map takes a bright disc to its position in the view."""
    torch.manual_seed(0)
    places = torch.tensor([[40.0, 60], [70, 50], [50, 45], [60, 62]])
    grid = geometry.cell_centres(96, 96, places)
    images = torch.stack([torch.exp(-((grid - place) ** 2).sum(dim=-1) / 18) for place in places])[:, None]
    views, to_view = losses.other_view(images)
    assert (torch.linalg.det(to_view[:, :, :2]) < 0).any() and (torch.linalg.det(to_view[:, :, :2]) > 0).any()
    expected = torch.einsum("bij,bj->bi", to_view[:, :, :2], places) + to_view[:, :, 2]
    weight = views[:, 0] / views[:, 0].sum(dim=(1, 2), keepdim=True)
    found = torch.einsum("bhw,hwi->bi", weight, grid)
    assert torch.allclose(found, expected, atol=0.3)
