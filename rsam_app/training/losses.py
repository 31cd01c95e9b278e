"""Loss terms, one value per image: supervised ones, and signals that teach a rectangle without a target."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.geometry import rectangles as geometry

UPRIGHT_SHARE = 0.8
"""Share of the distance to a target that is measured between the upright boxes around both. The angle is the least
certain of the five numbers; even if it is wrong, the box around the object should be right. (mean overlap on birds:
.587 with share 0, .592 with .5, .604 with .8)"""


def classification(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy `(B,)` in nats of logits `(B, C)`, with label smoothing (Szegedy et al. 2016, section 7)."""
    return F.cross_entropy(geometry.at_least_float32(logits), labels, label_smoothing=label_smoothing, reduction="none")


def to_target(rectangles: Tensor, targets: Tensor, side: float) -> Tensor:
    """Distance `(B,)` in [0, 1) of rectangles `(B, 5)`, and of the upright boxes around them, from their targets'
    `(B, 5)`; 0 if they are equal. `side` is the input's side in pixels. (ours)"""
    boxes, target_boxes = (geometry.from_boxes(geometry.bounding_boxes(both)) for both in (rectangles, targets))
    upright = gaussian_distance(boxes, target_boxes, side)
    return UPRIGHT_SHARE * upright + (1 - UPRIGHT_SHARE) * gaussian_distance(rectangles, targets, side)


def gaussian_distance(rectangles: Tensor, targets: Tensor, side: float) -> Tensor:
    """Distance `(B,)` in [0, 1) of rectangles `(B, 5)` from their targets `(B, 5)`; 0 if they are equal.

    Both become Gaussians with the rectangle's centre and covariance; their squared 2-Wasserstein distance d, relative
    to the target's size, is mapped to 1 - 1/(1 + √d) (after Yang et al. 2021, arXiv 2101.11952). It has a gradient even
    if the rectangles do not overlap, and ignores turns by π, and by π/2 of a square. `side` is the input's side in
    pixels; a target counts as no smaller than a fiftieth of it.
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
    along, across = geometry.axes(rectangles)
    return (along[:, :, None] * along[:, None, :] + across[:, :, None] * across[:, None, :]) / 12


def _determinant(matrix: Tensor) -> Tensor:
    return matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]


def equivariance(rectangles: Tensor, view_rectangles: Tensor, to_view: Tensor, side: float) -> Tensor:
    """Distance `(B,)` in [0, 1) between the rectangles `(B, 5)`, mapped into other views of the images by `to_view`
    `(B, 2, 3)`, and those predicted there `(B, 5)`; 0 if the rectangle moves with the image. (ours)"""
    return gaussian_distance(view_rectangles, geometry.transform(rectangles, to_view), side)


def outside_suffices(logits: Tensor) -> Tensor:
    """Certainty `(B,)` in [0, 1] of the classifier about the outside of the rectangle, from its logits there `(B, C)`;
    0 at the greatest possible entropy. (after Wei et al. 2017, arXiv 1703.08448; ours)"""
    log_probability = torch.log_softmax(geometry.at_least_float32(logits), dim=1)
    entropy = -(log_probability.exp() * log_probability).sum(dim=1)
    return 1 - entropy / math.log(max(2, logits.shape[1]))


def area(rectangles: Tensor, side: float) -> Tensor:
    """The rectangle's area `(B,)` relative to a square of this side, including what lies outside the square."""
    return rectangles[:, 2] * rectangles[:, 3] / side**2


def border(rectangles: Tensor, side: float) -> Tensor:
    """Squared overshoot `(B,)` of the corners beyond a square of this side, relative to it, averaged over the corners;
    0 if all four are inside. (ours)"""
    corners = geometry.corners(rectangles) / side
    return ((-corners).clamp_min(0) ** 2 + (corners - 1).clamp_min(0) ** 2).sum(dim=2).mean(dim=1)


def other_view(images: Tensor) -> tuple[Tensor, Tensor]:
    """Other views of square images `(B, C, S, S)`, rotated by up to 15°, scaled by .7 to 1 and half of them mirrored;
    and the maps `(B, 2, 3)` from the images' pixels to the views'. Draws from torch's generator."""
    count, side = images.shape[0], images.shape[3]
    draw = torch.rand(3, count, device=images.device)
    turn, scale = (2 * draw[0] - 1) * math.radians(15), 0.7 + 0.3 * draw[1]
    mirror = torch.where(draw[2] < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(turn) * scale, torch.sin(turn) * scale
    linear = torch.stack([torch.stack([cos * mirror, -sin], 1), torch.stack([sin * mirror, cos], 1)], 1)
    centre = torch.full((count, 2, 1), side / 2, device=images.device)
    to_view = torch.cat([linear, centre - geometry.product(linear, centre)], dim=2)
    back = geometry.invert(to_view)
    # affine_grid's coordinates run from -1 to 1 over the image, about its centre.
    shift = back[:, :, 2:] + geometry.product(back[:, :, :2], centre) - centre
    theta = torch.cat([back[:, :, :2], shift * 2 / side], dim=2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    views = F.grid_sample(images, grid.to(images.dtype), padding_mode="border", align_corners=False)
    return views, to_view
