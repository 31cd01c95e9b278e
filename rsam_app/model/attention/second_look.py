"""The two views of a second look: the whole image, shrunk, and a crop around the rectangle."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.geometry import rectangles as geometry

CONTEXT = 0.9
"""Scale of the rectangle's upright box, which the crop must hold; 1 is the box itself. Chosen on validation images: a
classifier fitted to three frozen backbones' features of birds and pets has a mean top-1 of 82.9 % (1.2: 80.0; 1: 81.5;
.8: 81.7; no crop: 76.8). On test images it is 84.9 % (1.2: 83.5; 1: 84.7; .8: 85.3), one seed
(`benchmarks/second_look_crop.py`)."""

LOOSE = 1.2
"""The scale of models of earlier versions."""

UNSURE_SHARE = 1 / 3
"""The share of the validation images, the least sure, that `unsure` looks at twice. Fine-tuned on birds, that brings
most of what a second look at all images brings (`benchmarks/results/finetuning.md`)."""

SMALLEST = 0.25
"""Smallest crop, as a share of the image's side: below it there is no more detail to gain."""


def shrunk(images: Tensor, by: int) -> Tensor:
    """Images `(B, C, H, W)` with each block of `by × by` pixels averaged to one; H and W are multiples of it.

    It sums slices along the memory: average pooling, or slices across the memory, take four times as long.
    """
    rows = _sum(images[:, :, i::by] for i in range(by))
    if not rows.is_contiguous(memory_format=torch.channels_last):
        return _sum(rows[..., i::by] for i in range(by)) / by**2
    batch, channels, height, width = rows.shape
    side_by_side = rows.permute(0, 2, 3, 1).reshape(batch, height, width // by, by * channels)
    total = _sum(side_by_side[..., i * channels : (i + 1) * channels] for i in range(by))
    return (total / by**2).permute(0, 3, 1, 2)


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return functools.reduce(operator.add, parts)


def upright_crop(
    images: Tensor, rectangles: Tensor, out_height: int, out_width: int, context: float = CONTEXT
) -> Tensor:
    """Crops `(B, C, out_height, out_width)` of images `(B, C, H, W)` around rectangles `(B, 5)` in their pixels.

    A crop keeps the image's aspect ratio. It is the smallest such window around the rectangle's upright box scaled by
    `context`, moved inside the image. Bilinear, differentiable in images and rectangles. (a spatial transformer's
    sampling, Jaderberg et al. 2015, arXiv 1506.02025)
    """
    height, width = images.shape[2:]
    extent = geometry.at_least_float32(rectangles).new_tensor([width, height])
    boxes = geometry.bounding_boxes(rectangles)
    share = (context * boxes[:, 2:] / extent).amax(dim=1, keepdim=True).clamp(SMALLEST, 1.0)
    centre = (boxes[:, :2] + boxes[:, 2:] / 2) / extent
    centre = torch.minimum(torch.maximum(centre, share / 2), 1 - share / 2)
    # grid_sample's coordinates run from -1 to 1 over the image.
    low, across = 2 * (centre - share / 2) - 1, 2 * share
    x, y = (low[:, i : i + 1] + across * _steps(size, share) for i, size in enumerate((out_width, out_height)))
    window = (-1, out_height, out_width)
    grid = torch.stack([x[:, None].expand(window), y[:, :, None].expand(window)], dim=3)
    return F.grid_sample(images, grid.to(images.dtype), mode="bilinear", padding_mode="border", align_corners=False)


def _steps(count: int, like: Tensor) -> Tensor:
    """The centres of `count` pixels as shares of their row."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count
