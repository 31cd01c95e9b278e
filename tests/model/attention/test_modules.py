"""RSAM and its baselines as modules: neutral at the start, trainable, and float32 under autocast."""

from __future__ import annotations

import pytest
import torch

from rsam_app.model.attention import RSAM, MapAttention, PositionwiseAttention
from rsam_app.model.attention.gating import GATINGS, gate
from rsam_app.model.attention.predictors import PREDICTORS, PeakPredictor, ProfilePredictor, _resampled

MODULES = {
    "peaks": lambda c: RSAM(c, "peaks"),
    "moments": lambda c: RSAM(c, "moments"),
    "profiles": lambda c: RSAM(c, "profiles"),
    "regression": lambda c: RSAM(c, "regression"),
    "normalised gating": lambda c: RSAM(c, gating="normalised"),
    "plain gating": lambda c: RSAM(c, gating="plain"),
    "positionwise": PositionwiseAttention,
    "conv_map": MapAttention,
}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("shape", [(2, 16, 7, 7), (1, 8, 5, 9), (3, 4, 14, 10)])
def test_shapes_ranges_and_gradients(name, shape):
    torch.manual_seed(0)
    module, features = MODULES[name](shape[1]), torch.randn(shape, requires_grad=True)
    result = module(features)
    assert result.features.shape == shape
    assert result.rectangle.shape == (shape[0], 5)
    assert result.mask.shape == (shape[0], *shape[2:])
    assert result.mask.min() >= 0 and result.mask.max() <= 1
    (result.features.square().mean() + result.rectangle.square().mean()).backward()
    assert torch.isfinite(features.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_starts_at_the_whole_map(predictor):
    torch.manual_seed(0)
    features = torch.randn(4, 16, 8, 12)
    result = RSAM(16, predictor)(features)
    assert torch.allclose(result.rectangle[:, :4], torch.tensor([[6.0, 4.0, 12.0, 8.0]]), rtol=0.06)
    assert (result.features.mean(dim=(2, 3)) - features.mean(dim=(2, 3))).abs().max() < 0.05


def test_gate_at_full_strength_pools_the_weighted_mean():
    torch.manual_seed(0)
    features, mask = torch.randn(2, 5, 4, 6), torch.rand(2, 4, 6)
    weighted = (features * mask[:, None]).sum(dim=(2, 3)) / mask.sum(dim=(1, 2))[:, None]
    assert torch.allclose(gate(features, mask).mean(dim=(2, 3)), weighted, atol=1e-5)
    assert torch.equal(gate(features, mask, 0.0), features)


def test_gatings_pool_as_documented():
    torch.manual_seed(0)
    features, mask = torch.rand(2, 5, 4, 6), torch.rand(2, 4, 6)
    pooled = {name: RSAM(5, gating=name).gate(features, mask).mean(dim=(2, 3)) for name in GATINGS}
    halfway = (features.mean(dim=(2, 3)) + pooled["normalised"]) / 2  # the learned strength starts at one half
    assert torch.allclose(pooled["residual"], halfway, atol=1e-6)
    assert torch.allclose(pooled["plain"], (features * mask[:, None]).mean(dim=(2, 3)), atol=1e-6)
    with pytest.raises(ValueError, match="sideways"):
        RSAM(5, gating="sideways")


def test_a_wide_gate_reaches_further_than_a_tight_one():
    torch.manual_seed(0)
    features, tight = torch.rand(2, 5, 8, 8), RSAM(5, reach="published")
    wide = RSAM(5, gating="plain", reach="wide")
    with torch.no_grad():
        for module in (tight, wide):
            module.predictor.out.bias.copy_(torch.tensor([0.0, 0.0, -1.3, -1.3, 1.0, 0.0]))
    near, far = tight(features), wide(features)
    assert torch.equal(near.mask, far.mask)
    assert torch.allclose(near.features, features * near.mask[:, None])
    assert (far.features[:, :, 0, 0] > 2 * near.features[:, :, 0, 0]).all()


@pytest.mark.parametrize("name", MODULES)
def test_float32_under_autocast(name):
    torch.manual_seed(0)
    module, features = MODULES[name](8), torch.randn(2, 8, 7, 7)
    plain = module(features)
    with torch.autocast("cpu", torch.bfloat16):
        cast = module(features.bfloat16())
    assert cast.rectangle.dtype == cast.mask.dtype == torch.float32
    assert cast.features.dtype == torch.bfloat16
    assert torch.allclose(cast.rectangle, plain.rectangle, atol=0.1)


def test_profiles_predictor_uses_stages_and_returns_cells_of_the_gated_map():
    """The rectangle is in cells of the gated map, whatever the grids of the stages."""
    torch.manual_seed(0)
    module = RSAM(16, "profiles", stage_channels=(4, 6))
    stages = [torch.randn(2, 4, 12, 20), torch.randn(2, 6, 6, 10)]
    result = module(torch.randn(2, 16, 3, 5), stages)
    assert result.mask.shape == (2, 3, 5)
    assert torch.allclose(result.rectangle[:, :4], torch.tensor([[2.5, 1.5, 4.75, 2.85]]), rtol=1e-4)
    assert RSAM(16, "moments", stage_channels=(4, 6)).evidence(result.features, stages) == [result.features]


def test_peaks_follow_an_object_wherever_it_is():
    """An object of one cell, moved by 3 cells to the right and 2 down, moves the rectangle by as much."""
    torch.manual_seed(0)
    predictor = PeakPredictor((6, 8))
    with torch.no_grad():
        predictor.direct[0].weight[0, 0] = 5.0  # the first channel marks the object
        predictor.score.bias.zero_()
    rectangles = []
    for x, y in ((3, 4), (6, 6)):
        finest = torch.zeros(1, 6, 10, 12)
        finest[0, 0, y, x] = 1.0
        rectangles.append(predictor([finest, torch.zeros(1, 8, 5, 6)])[0])
    first, second = rectangles
    assert torch.allclose(second[:2] - first[:2], torch.tensor([1.5, 1.0]), atol=1e-2)  # in cells of the last map
    assert torch.allclose(first[:2], torch.tensor([1.75, 2.25]), atol=0.02)
    assert torch.allclose(first[2:], second[2:], atol=1e-2) and first[2] < 1.0


def test_profiles_on_other_grids_keep_their_means():
    """Each cell is the mean over its extent: 7 cells on 14 repeat, 28 on 14 average, 3 on 7 preserve the mean."""
    torch.manual_seed(0)
    for length, cells in ((7, 14), (28, 14), (3, 7), (10, 7)):
        profile = torch.rand(2, 4, length)
        assert torch.allclose(_resampled(profile, cells).mean(dim=2), profile.mean(dim=2), atol=1e-6)
    seven = torch.rand(1, 1, 7)
    assert torch.allclose(_resampled(seven, 14), seven.repeat_interleave(2, dim=2))


def test_only_columns_determine_cx_and_width():
    """A change of rows but not of columns moves neither cx nor width."""
    torch.manual_seed(0)
    predictor = ProfilePredictor((5,))
    with torch.no_grad():
        for parameter in predictor.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    maps = torch.randn(2, 5, 9, 9)
    before, after = predictor([maps]), predictor([maps.flip(2)])
    assert torch.allclose(before[:, [0, 2]], after[:, [0, 2]], atol=1e-5)
    assert not torch.allclose(before[:, [1, 3]], after[:, [1, 3]], atol=1e-3)


def test_moments_predictor_learns_to_follow_an_object():
    """Trained by the target loss alone, the rectangle finds a bright patch on noise."""
    from rsam_app.training.losses import gaussian_distance

    draws = torch.Generator().manual_seed(0)
    module = RSAM(6, "moments")
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)

    def images(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.randn(count, 6, 12, 12, generator=draws) * 0.3
        targets = torch.zeros(count, 5)
        for i in range(count):
            x, y = (int(v) for v in torch.randint(1, 6, (2,), generator=draws))
            features[i, 2, y : y + 4, x : x + 5] += 3
            targets[i] = torch.tensor([x + 2.5, y + 2, 5, 4, 0])
        return features, targets

    first = None
    for _ in range(250):
        features, targets = images(16)
        loss = gaussian_distance(module(features).rectangle, targets, side=12).mean()
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.4 * first
