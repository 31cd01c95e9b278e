"""Supervised loss terms against their mathematical definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from rsam_app.training import losses


def random_rectangles(count: int, seed: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([20.0, 20, 10, 10, -1.5]), torch.tensor([200.0, 200, 90, 90, 1.5])
    return (low + (high - low) * torch.rand(count, 5, generator=draws)).double()


def test_gaussian_distance_is_the_wasserstein_distance_of_gaussians():
    """Against scipy's matrix square root, on random pairs."""
    a, b = random_rectangles(20, 0), random_rectangles(20, 1)
    for one, other in zip(a.numpy(), b.numpy(), strict=True):
        covariances = []
        for _, _, width, height, angle in (one, other):
            turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            covariances.append(turn @ np.diag([width**2 / 12, height**2 / 12]) @ turn.T)
        root = scipy.linalg.sqrtm(covariances[0])
        cross = scipy.linalg.sqrtm(root @ covariances[1] @ root).real
        squared = ((one[:2] - other[:2]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * cross)
        expected = 1 - 1 / (1 + math.sqrt(squared / math.sqrt(np.linalg.det(covariances[1]))))
        found = losses.gaussian_distance(torch.tensor(one)[None], torch.tensor(other)[None], side=224)
        assert float(found) == pytest.approx(expected, abs=2e-3)


def test_to_target_is_zero_for_every_notation_of_the_same_rectangle():
    a = random_rectangles(10, 2)
    half_turn = a + torch.tensor([0, 0, 0, 0, math.pi])
    quarter = torch.stack([a[:, 0], a[:, 1], a[:, 3], a[:, 2], a[:, 4] + math.pi / 2], dim=1)
    for other in (a, half_turn, quarter):
        assert losses.to_target(a, other, side=224).abs().max() < 2e-3


def test_to_target_grows_with_distance_and_has_gradients_far_away():
    target = torch.tensor([[100.0, 100, 30, 20, 0.3]])
    moved = target + torch.tensor([[5.0], [20.0], [80.0]]) * torch.tensor([[1.0, 0, 0, 0, 0]])
    moved.requires_grad_()
    values = losses.to_target(moved, target.expand(3, 5), side=224)
    assert values[0] < values[1] < values[2] < 1
    values.sum().backward()
    assert (moved.grad[:, 0] > 0).all() and torch.isfinite(moved.grad).all()


def test_to_target_gradcheck():
    a, b = random_rectangles(3, 3).requires_grad_(), random_rectangles(3, 4)
    assert torch.autograd.gradcheck(lambda r: losses.to_target(r, b, side=224), a)


def test_to_target_at_its_minimum_has_finite_gradients():
    a = random_rectangles(3, 5).float().requires_grad_()
    losses.to_target(a, a.detach(), side=224).sum().backward()
    assert torch.isfinite(a.grad).all()


def test_classification_is_cross_entropy_towards_smoothed_labels():
    logits, labels = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 1])
    smooth = torch.full((5, 4), 0.1 / 4) + 0.9 * torch.nn.functional.one_hot(labels, 4)
    expected = -(smooth * logits.log_softmax(dim=1)).sum(dim=1)
    assert torch.allclose(losses.classification(logits, labels, 0.1), expected, atol=1e-6)
    assert losses.classification(logits.bfloat16(), labels, 0.1).dtype == torch.float32
