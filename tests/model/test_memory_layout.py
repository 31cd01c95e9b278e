"""Channels-last memory changes no result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rsam_app.config import ModelConfig
from rsam_app.model import build_model
from rsam_app.model.memory_layout import use_channels_last


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("stride", [2, (1, 3)])
@pytest.mark.parametrize("channels", [3, 12])
def test_strided_pointwise_convolutions_of_few_channels_keep_result_and_gradients(channels, stride, side):
    """In channels-last memory their own gradients make the process crash."""
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, 5, 1, stride)
    changed = nn.Conv2d(channels, 5, 1, stride)
    changed.load_state_dict(plain.state_dict())
    use_channels_last(changed)
    images = torch.randn(2, channels, side, side)
    expected, output = plain(images), changed(images.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(output, expected, atol=1e-6)
    expected.square().sum().backward()
    output.square().sum().backward()
    assert torch.allclose(changed.weight.grad, plain.weight.grad, rtol=1e-4)


def test_convolutions_that_read_every_pixel_and_wide_ones_stay_as_they_are():
    for module in (nn.Conv2d(3, 5, 1), nn.Conv2d(3, 5, 3, 2), nn.Conv2d(16, 5, 1, 2), nn.Conv2d(3, 5, 1, 2, padding=1)):
        stride = module.stride
        use_channels_last(module)
        assert module.stride == stride and not module._forward_pre_hooks


@pytest.mark.parametrize("backbone", ["fastvit_t8", "mobileone_s0", "repvgg_a0"])
def test_networks_with_such_stems_learn(backbone):
    model = build_model(ModelConfig(backbone=backbone, weights="none", image_size=96), ("a", "b"))
    images = torch.randn(2, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    model.train()(images).square().sum().backward()
    stem = next(module for module in model.modules() if getattr(module, "_forward_pre_hooks", None))
    assert stem.in_channels == 3 and stem.weight.grad.abs().max() > 0


def test_a_built_models_convolutions_are_channels_last():
    model = build_model(ModelConfig(backbone="test_resnet", weights="none", image_size=64), ("a", "b"))
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] > 1]
    assert weights and all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
