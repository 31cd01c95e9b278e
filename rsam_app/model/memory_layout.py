"""Channels-last memory, in which images are decoded and convolutions on the CPU are fastest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

BROKEN_BELOW = 16
"""Input channels below which oneDNN writes beyond the gradient of a strided 1×1 convolution (seen in torch 2.15)."""


def use_channels_last(model: nn.Module) -> None:
    """Store the weights of the 2-d convolutions of `model` in channels-last memory, in place.

    If neither weights nor input were, a convolution in bfloat16 would take twice as long. Strided 1×1 convolutions of
    few channels, as in the stems of FastViT, MobileOne and RepVGG, get only the pixels that they read, and no stride:
    the same result, without the gradient that makes the process crash.
    """
    nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and _is_broken(module):
            down, right = module.stride
            module.register_forward_pre_hook(_EveryNth(down, right))
            module.stride = (1, 1)


def _is_broken(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == (1, 1)
        and max(convolution.stride) > 1
        and convolution.padding in ("valid", (0, 0))
        and convolution.in_channels // convolution.groups < BROKEN_BELOW
    )


class _EveryNth:
    """A forward hook that keeps every nth row and column of a map `(B, C, H, W)`."""

    def __init__(self, down: int, right: int) -> None:
        self.down, self.right = down, right

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> Tensor:
        images: Tensor = arguments[0]
        return images[:, :, :: self.down, :: self.right]
