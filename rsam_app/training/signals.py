"""Signals that can teach a rectangle its place without a target, one function each; each gives one value per image.

They are off unless `train.signals` gives them a weight: prototypes of them placed rectangles worse than targets that
were discovered. `benchmarks/attention.py` has a row for each.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.attention import geometry
from rsam_app.training.losses import gaussian_distance


def equivariance(rectangles: Tensor, of_views: Tensor, to_view: Tensor, side: float) -> Tensor:
    """How far the rectangles `(B, 5)`, carried into other views of the images by `to_view` `(B, 2, 3)`, are from those
    found there `(B, 5)`: `(B,)` in [0, 1), 0 where the rectangle moves with the image. (ours)"""
    return gaussian_distance(of_views, geometry.transform(rectangles, to_view), side)


def outside_suffices(logits: Tensor) -> Tensor:
    """How sure the classifier is of what lies outside the rectangle, from its logits there `(B, C)`: `(B,)` in [0, 1],
    0 where it cannot tell (the entropy is the greatest possible). (after Wei et al. 2017, arXiv 1703.08448; ours)"""
    log_probability = torch.log_softmax(geometry.at_least_float32(logits), dim=1)
    entropy = -(log_probability.exp() * log_probability).sum(dim=1)
    return 1 - entropy / math.log(max(2, logits.shape[1]))


def area(rectangles: Tensor, side: float) -> Tensor:
    """The price of area: the rectangle's share `(B,)` of a square of this side; beyond the border it counts on."""
    return rectangles[:, 2] * rectangles[:, 3] / side**2


def border(rectangles: Tensor, side: float) -> Tensor:
    """How far corners reach out of a square of this side, relative to it: the mean over corners `(B,)` of the squared
    overshoot, 0 where all four are inside. (ours)"""
    corners = geometry.corners(rectangles) / side
    return ((-corners).clamp_min(0) ** 2 + (corners - 1).clamp_min(0) ** 2).sum(dim=2).mean(dim=1)


def other_view(images: Tensor) -> tuple[Tensor, Tensor]:
    """Other views of square images `(B, C, S, S)`, turned by up to 15° and shrunk to between .7 and 1, half of them
    mirrored; and the maps `(B, 2, 3)` from the images' pixels to the views'. Draws from torch's generator."""
    count, side = images.shape[0], images.shape[3]
    draw = torch.rand(3, count, device=images.device)
    turn, scale = (2 * draw[0] - 1) * math.radians(15), 0.7 + 0.3 * draw[1]
    mirror = torch.where(draw[2] < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(turn) * scale, torch.sin(turn) * scale
    linear = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)
    centre = torch.full((count, 2, 1), side / 2, device=images.device)
    to_view = torch.cat([linear, centre - linear @ centre], dim=2)
    back = geometry.invert(to_view)
    # affine_grid's coordinates run from -1 to 1 over the image, about its centre.
    theta = torch.cat([back[:, :, :2], (back[:, :, 2:] + back[:, :, :2] @ centre - centre) * 2 / side], dim=2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    views = F.grid_sample(images, grid.to(images.dtype), padding_mode="border", align_corners=False)
    return views, to_view
