"""Rectangles: the geometric convention of the whole package, and its operations.

A rectangle is `cx, cy, width, height, angle`. Coordinates are continuous pixels: x to the right, y down, the centre of
the top-left pixel is (0.5, 0.5), so an image of W × H pixels spans [0, W] × [0, H]. `angle` is in radians, positive
clockwise as displayed, canonical in [-π/2, π/2), with `width` measured along it. The same formulas hold on a feature
map, whose unit is then a cell. Rotation happens in this pixel space, so a map that is not square shears nothing.

Everything is computed in float32 (float64 stays float64), also under autocast: bfloat16 near 0.9 is coarser than a
pixel. Tensors are batches: rectangles `(B, 5)`, points `(B, N, 2)`, affine maps `(B, 2, 3)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SOFTNESS = 0.5
"""Default softness of a rendered edge, in cells: the mask falls from .88 to .12 within 2 cells of it."""


def at_least_float32(values: Tensor) -> Tensor:
    """Return `values` in float32; float64 stays float64."""
    return values if values.dtype == torch.float64 else values.float()


def canonical(rectangles: Tensor) -> Tensor:
    """Return the same rectangles `(B, 5)` with the angle in [-π/2, π/2); a rotation by π changes nothing."""
    rectangles = at_least_float32(rectangles)
    angle = torch.remainder(rectangles[:, 4] + math.pi / 2, math.pi) - math.pi / 2
    return torch.cat([rectangles[:, :4], angle[:, None]], dim=1)


def axes(rectangles: Tensor) -> tuple[Tensor, Tensor]:
    """Return the edge vectors `(B, 2)` along width and along height, in pixels."""
    rectangles = at_least_float32(rectangles)
    cos, sin = torch.cos(rectangles[:, 4]), torch.sin(rectangles[:, 4])
    along = torch.stack([cos, sin], dim=1) * rectangles[:, 2:3]
    across = torch.stack([-sin, cos], dim=1) * rectangles[:, 3:4]
    return along, across


def corners(rectangles: Tensor) -> Tensor:
    """Return the corners `(B, 4, 2)` in pixels, clockwise as displayed from the one that is top left at angle 0."""
    along, across = axes(rectangles)
    centre = at_least_float32(rectangles)[:, :2]
    signs = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    return torch.stack([centre + a * along + b * across for a, b in signs], dim=1)


def bounding_boxes(rectangles: Tensor) -> Tensor:
    """Return the upright boxes `x, y, width, height` `(B, 4)` around the rectangles, in pixels, not clipped."""
    points = corners(rectangles)
    low, high = points.amin(dim=1), points.amax(dim=1)
    return torch.cat([low, high - low], dim=1)


def from_boxes(boxes: Tensor) -> Tensor:
    """Make rectangles `(B, 5)` of angle 0 from upright boxes `x, y, width, height` `(B, 4)`."""
    boxes = at_least_float32(boxes)
    return torch.cat([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:], torch.zeros_like(boxes[:, :1])], dim=1)


def transform(rectangles: Tensor, affine: Tensor) -> Tensor:
    """Map rectangles `(B, 5)` through affine maps `(B, 2, 3)` of continuous pixel coordinates.

    An affine map makes a parallelogram of a rectangle. The result is the rectangle with the same centre and area, and
    the orthogonal frame nearest to the parallelogram's edge directions (polar decomposition). It is exact for
    rotations, flips, uniform scaling and shifts, and for axis-aligned scaling of an upright rectangle. (ours)
    """
    rectangles, affine = at_least_float32(rectangles), at_least_float32(affine)
    linear, shift = affine[:, :, :2], affine[:, :, 2]
    centre = product(linear, rectangles[:, :2, None])[:, :, 0] + shift
    along, across = (product(linear, edge[:, :, None])[:, :, 0] for edge in axes(rectangles))
    length, breadth = along.norm(dim=1), across.norm(dim=1)
    tiny = torch.finfo(length.dtype).tiny
    e, f = along / length.clamp_min(tiny)[:, None], across / breadth.clamp_min(tiny)[:, None]
    handedness = torch.sign(e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0])
    handedness = torch.where(handedness == 0, torch.ones_like(handedness), handedness)
    # The frame (q, rotated q) nearest to (e, f): f rotated back by 90° is a second vote for q.
    vote = e + handedness[:, None] * torch.stack([f[:, 1], -f[:, 0]], dim=1)
    angle = torch.atan2(vote[:, 1], vote[:, 0])
    shrink = (e[:, 0] * f[:, 1] - e[:, 1] * f[:, 0]).abs().sqrt()
    size = torch.stack([length * shrink, breadth * shrink], dim=1)
    return canonical(torch.cat([centre, size, angle[:, None]], dim=1))


def invert(affine: Tensor) -> Tensor:
    """Invert maps `(B, 2, 3)`. Raises `RuntimeError` if a map is singular."""
    affine = at_least_float32(affine)
    linear = torch.linalg.inv(affine[:, :, :2])
    return torch.cat([linear, -product(linear, affine[:, :, 2:])], dim=2)


def compose(second: Tensor, first: Tensor) -> Tensor:
    """Compose maps `(B, 2, 3)`: apply `first`, then `second`."""
    second, first = at_least_float32(second), at_least_float32(first)
    linear, shift = second[:, :, :2], second[:, :, 2:]
    return torch.cat([product(linear, first[:, :, :2]), product(linear, first[:, :, 2:]) + shift], dim=2)


def product(left: Tensor, right: Tensor) -> Tensor:
    """The matrix products `(B, I, K)` of small matrices `(B, I, J)` and `(B, J, K)`, in their own precision also under
    autocast, which computes `@` in half precision."""
    return (left[:, :, :, None] * right[:, None]).sum(dim=2)


def scaling(scale_x: float, scale_y: float, like: Tensor) -> Tensor:
    """Return the map `(1, 2, 3)` that scales x and y, on the device and in the precision of `like`."""
    return at_least_float32(like).new_tensor([[[scale_x, 0.0, 0.0], [0.0, scale_y, 0.0]]])


def rescale(rectangles: Tensor, size: Sequence[int], new_size: Sequence[int]) -> Tensor:
    """Convert rectangles `(B, 5)` between grids of the same area, of `size` and `new_size` (height, width) in cells."""
    (height, width), (new_height, new_width) = size, new_size
    by = scaling(new_width / width, new_height / height, rectangles)
    return transform(rectangles, by.expand(rectangles.shape[0], 2, 3))


def cell_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Return the coordinates `(height, width, 2)` of the cell centres of a map; the top left one is (0.5, 0.5)."""
    kind = at_least_float32(like)
    y = torch.arange(height, device=kind.device, dtype=kind.dtype) + 0.5
    x = torch.arange(width, device=kind.device, dtype=kind.dtype) + 0.5
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)


def soft_mask(rectangles: Tensor, height: int, width: int, softness: float = SOFTNESS) -> Tensor:
    """Render rectangles `(B, 5)`, in cells, on a `height × width` map: `(B, height, width)` in [0, 1].

    With (u, v) the cell's centre in the rectangle's own frame and s the softness in cells,

        m = σ((w/2 + u)/s) · σ((w/2 - u)/s) · σ((h/2 + v)/s) · σ((h/2 - v)/s)

    which is smooth in all five numbers and tends to the rectangle's indicator as s → 0.
    """
    rectangles = at_least_float32(rectangles)
    offset = cell_centres(height, width, rectangles)[None] - rectangles[:, None, None, :2]
    cos, sin = torch.cos(rectangles[:, 4])[:, None, None], torch.sin(rectangles[:, 4])[:, None, None]
    u = offset[..., 0] * cos + offset[..., 1] * sin
    v = offset[..., 1] * cos - offset[..., 0] * sin
    half_w, half_h = rectangles[:, 2, None, None] / 2, rectangles[:, 3, None, None] / 2
    exponents = ((half_w + u), (half_w - u), (half_h + v), (half_h - v))
    log_mask = sum(torch.nn.functional.logsigmoid(e / softness) for e in exponents)
    return torch.exp(torch.as_tensor(log_mask))


def from_moments(weights: Tensor) -> Tensor:
    """Return the rectangles `(B, 5)`, in cells, with the first and second moments of non-negative maps `(B, H, W)`.

    A uniform rectangle of size w × h has variances w²/12 and h²/12 along its axes, so with the weighted mean μ and
    covariance Σ (each cell counted as a unit square, which adds 1/12), λ₁ ≥ λ₂ the eigenvalues of Σ:

        (cx, cy) = μ,  width = √(12 λ₁),  height = √(12 λ₂),  angle = ½ atan2(2 Σxy, Σxx - Σyy)

    Equivariant by construction: shifting, rotating or flipping the map does the same to the rectangle. If λ₁ = λ₂, the
    angle is 0 and its gradient finite. A map without weight gives the whole map. (ours)
    """
    weights = at_least_float32(weights)
    total = weights.sum(dim=(1, 2))
    tiny = torch.finfo(weights.dtype).tiny
    uniform = (total <= tiny)[:, None, None]
    weights = torch.where(uniform, torch.ones_like(weights), weights)
    share = weights / weights.sum(dim=(1, 2), keepdim=True)
    points = cell_centres(weights.shape[1], weights.shape[2], weights)
    centre = (share[..., None] * points).sum(dim=(1, 2))
    offset = points[None] - centre[:, None, None]
    xx = (share * offset[..., 0] ** 2).sum(dim=(1, 2)) + 1 / 12
    yy = (share * offset[..., 1] ** 2).sum(dim=(1, 2)) + 1 / 12
    xy = (share * offset[..., 0] * offset[..., 1]).sum(dim=(1, 2))
    mean, half = (xx + yy) / 2, (xx - yy) / 2
    small = torch.finfo(weights.dtype).eps
    radius = torch.sqrt(half**2 + xy**2 + small**2)
    width = torch.sqrt(12 * (mean + radius))
    height = torch.sqrt(12 * (mean - radius).clamp_min(small))
    # For a map without a direction both arguments vanish, and so would the gradient's denominator.
    angle = 0.5 * torch.atan2(2 * xy, 2 * half + small * (half.abs() + xy.abs() < small))
    return torch.cat([centre, torch.stack([width, height, angle], dim=1)], dim=1)
