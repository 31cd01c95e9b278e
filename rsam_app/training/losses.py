"""What training minimises, one function per term; each gives one value per image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.attention.geometry import at_least_float32, axes, bounding_boxes, from_boxes

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
