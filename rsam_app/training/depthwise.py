"""Depthwise convolutions that train faster in float32 than in bfloat16 on a processor."""

from __future__ import annotations

import types

import torch
from torch import Tensor, nn


def train_slow_depthwise_in_float32(model: nn.Module) -> None:
    """Let depthwise convolutions of `model` with a stride, or with kernels wider than 3, run in float32 wherever
    gradients are computed, though the rest of the network runs in bfloat16.

    oneDNN has no fast bfloat16 kernel for their gradients: with a stride of 2 they take 3 to 60 times as long as in
    float32, which is two fifths of a training step of MobileNetV2. Without gradients nothing changes, so validation
    during training computes what a later evaluation does. `benchmarks/fast_path.py` measures whole steps.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and _is_slow(module):
            module.forward = types.MethodType(_forward, module)  # type: ignore[method-assign]


def _is_slow(convolution: nn.Conv2d) -> bool:
    depthwise = convolution.groups == convolution.in_channels > 1
    return depthwise and (max(convolution.stride) > 1 or max(convolution.kernel_size) > 3)


def _forward(self: nn.Conv2d, images: Tensor) -> Tensor:
    plain = type(self).forward
    if not torch.is_grad_enabled():
        return plain(self, images)
    with torch.autocast(images.device.type, enabled=False):
        return plain(self, images.float()).to(images.dtype)
