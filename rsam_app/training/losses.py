"""What training minimises, one function per term; each gives one value per image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.rectangles import at_least_float32, axes, bounding_boxes, from_boxes

UPRIGHT_SHARE = 0.8
"""How much of the distance to a target counts between the upright boxes around both. An angle is the least certain of
the five numbers; where it is wrong, the box around the object should still be right. (on birds, angles and sizes alike:
.587 overlap; .5: .592; .8: .604)"""


def classification(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy `(B,)` in nats of logits `(B, C)`, with label smoothing (Szegedy et al. 2016, section 7)."""
    return F.cross_entropy(at_least_float32(logits), labels, label_smoothing=label_smoothing, reduction="none")


def to_target(rectangles: Tensor, targets: Tensor, side: float) -> Tensor:
    """How far rectangles `(B, 5)`, and the upright boxes around them, are from their targets' `(B, 5)`: `(B,)` in
    [0, 1), 0 where they are the same. `side` is the input's side in pixels. (ours)"""
    upright = gaussian_distance(from_boxes(bounding_boxes(rectangles)), from_boxes(bounding_boxes(targets)), side)
    return UPRIGHT_SHARE * upright + (1 - UPRIGHT_SHARE) * gaussian_distance(rectangles, targets, side)


def gaussian_distance(rectangles: Tensor, targets: Tensor, side: float) -> Tensor:
    """How far rectangles `(B, 5)` are from their targets `(B, 5)`: `(B,)` in [0, 1), 0 where they are the same.

    Both are seen as Gaussians with the rectangle's centre and covariance; their squared 2-Wasserstein distance,
    relative to the target's size, goes through 1 - 1/(1 + √d) (after Yang et al. 2021, arXiv 2101.11952). It has a
    gradient where the rectangles do not overlap, and does not see a turn by π, nor by π/2 of a square. `side` is the
    input's side in pixels; it bounds how small a target may count.
    """
    mean_1, mean_2 = rectangles[:, :2], targets[:, :2]
    cov_1, cov_2 = _covariance(rectangles), _covariance(targets)
    trace = (cov_1 + cov_2).diagonal(dim1=1, dim2=2).sum(dim=1)
    product = (cov_1 * cov_2).sum(dim=(1, 2))
    small = torch.finfo(product.dtype).tiny
    root = torch.sqrt((_determinant(cov_1) * _determinant(cov_2)).clamp_min(small))
    distance = ((mean_1 - mean_2) ** 2).sum(dim=1) + trace - 2 * torch.sqrt((product + 2 * root).clamp_min(small))
    scale = _determinant(cov_2).clamp_min(small).sqrt().clamp_min((side / 50) ** 2)
    relative = distance.clamp_min(0) / scale
    return 1 - 1 / (1 + torch.sqrt(relative + 1e-6) - 1e-3)


def _covariance(rectangles: Tensor) -> Tensor:
    along, across = axes(rectangles)
    return (along[:, :, None] * along[:, None, :] + across[:, :, None] * across[:, None, :]) / 12


def _determinant(matrix: Tensor) -> Tensor:
    return matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]


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
