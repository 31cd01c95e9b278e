"""Depthwise convolutions in float32: exact gradients while training, and nothing else changed."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from rsam_app.training.depthwise import train_slow_depthwise_in_float32


def gradients(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Of the sum of squares of `model`'s outputs in bfloat16, for the weights and for `images`."""
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images.bfloat16())
    assert output.dtype == torch.bfloat16
    output.float().square().sum().backward()
    weight, of_images = next(model.parameters()).grad, images.grad
    assert weight is not None and of_images is not None
    return weight, of_images


@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
def test_gradients_are_those_of_float32_up_to_the_rounding_of_inputs_and_outputs(kind: type[nn.Conv2d]) -> None:
    torch.manual_seed(0)
    exact = kind(8, 8, 3, stride=2, padding=1 if kind is nn.Conv2d else 0, groups=8)
    quick = copy.deepcopy(exact)
    train_slow_depthwise_in_float32(quick)
    images = torch.randn(4, 8, 10, 10).bfloat16().float()
    exact_images = images.clone().requires_grad_()
    exact(exact_images).square().sum().backward()
    assert exact.weight.grad is not None and exact_images.grad is not None
    for found, right in zip(gradients(quick, images), (exact.weight.grad, exact_images.grad), strict=True):
        assert (found - right).abs().max() < 0.01 * right.abs().max()


def test_only_strided_and_wide_depthwise_convolutions_compute_in_float32() -> None:
    model = timm.create_model("efficientnet_b0", num_classes=3).train()
    train_slow_depthwise_in_float32(model)
    precise, seen = set(), {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            if "forward" in vars(module):
                precise.add(name)
            seen[name] = module.groups > 1 and (module.stride[0] > 1 or module.kernel_size[0] > 3)
    assert precise == {name for name, slow in seen.items() if slow}
    assert 0 < len(precise) < len(seen)


def test_without_gradients_and_in_a_copy_the_network_computes_as_before() -> None:
    torch.manual_seed(0)
    plain = timm.create_model("mobilenetv2_100", num_classes=3).eval()
    quick = copy.deepcopy(plain)
    train_slow_depthwise_in_float32(quick)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain(images), quick(images))
    average = copy.deepcopy(quick)  # as an average of weights is made
    for parameter in quick.parameters():
        parameter.data.zero_()
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(average(images), quick(images))
    assert average.state_dict().keys() == plain.state_dict().keys()
