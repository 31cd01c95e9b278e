"""The classifier that training starts from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rsam_app.training.warm_start import fit_classifier

LABELS = torch.arange(90) % 3


def fitted(features: Tensor, bias: bool = True) -> Tensor:
    """The logits of a classifier fitted to these features."""
    classifier = nn.Linear(features.shape[1], 3, bias=bias)
    fit_classifier(classifier, features, LABELS)
    return classifier(features).detach()


@pytest.fixture
def features() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(90, 8) + 2 * torch.eye(8)[LABELS]


@pytest.mark.parametrize(("factor", "offset"), [(100.0, 0.0), (0.01, 0.0), (1.0, 50.0)])
def test_the_fit_is_the_same_at_any_scale_and_offset(features: Tensor, factor: float, offset: float) -> None:
    expected = fitted(features)
    assert (expected.argmax(dim=1) == LABELS).float().mean() > 0.8
    assert torch.allclose(fitted(factor * features + offset), expected, atol=2e-3)


def test_a_classifier_without_bias_tells_the_classes_apart(features: Tensor) -> None:
    assert (fitted(features, bias=False).argmax(dim=1) == LABELS).float().mean() > 0.8
    assert torch.allclose(fitted(100 * features, bias=False), fitted(features, bias=False), atol=2e-3)


def test_features_that_do_not_differ_give_finite_logits() -> None:
    assert torch.isfinite(fitted(torch.ones(90, 8))).all()
