"""Views of an image with an exactly known map, so that a rectangle predicted in one can be mapped back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.geometry import rectangles as geometry

TURN = math.radians(15)
SCALE = 0.8
"""Share of each side that the image shrinks to; the mean colour surrounds it."""
CROP = 0.8
CROP_CENTRE = (0.45, 0.55)
"""Share of each side in the crop, and its relative centre; the crop fills the input."""


def flip(size: float) -> Tensor:
    """Return the map `(1, 2, 3)` of a horizontal flip, from a square image of side `size` to the view, in pixels."""
    return torch.tensor([[[-1.0, 0.0, size], [0.0, 1.0, 0.0]]])


def turn(size: float, angle: float) -> Tensor:
    """Return the map `(1, 2, 3)` of a rotation by `angle` (radians, clockwise as displayed) about the centre."""
    cos, sin, middle = math.cos(angle), math.sin(angle), size / 2
    shift_x, shift_y = middle - cos * middle + sin * middle, middle - sin * middle - cos * middle
    return torch.tensor([[[cos, -sin, shift_x], [sin, cos, shift_y]]])


def zoom(size: float, factor: float, centre: tuple[float, float] = (0.5, 0.5)) -> Tensor:
    """Return the map `(1, 2, 3)` that scales by `factor` and moves the relative point `centre` to the middle."""
    shift = [size / 2 - factor * c * size for c in centre]
    return torch.tensor([[[factor, 0.0, shift[0]], [0.0, factor, shift[1]]]])


GEOMETRIC: dict[str, Callable[[float], Tensor]] = {
    "flip": flip,
    "rotate_right": lambda size: turn(size, TURN),
    "rotate_left": lambda size: turn(size, -TURN),
    "scale": lambda size: zoom(size, SCALE),
    "crop": lambda size: zoom(size, 1 / CROP, CROP_CENTRE),
}
"""Exact similarities of the network input: a rectangle stays a rectangle."""


def warp(images: Tensor, to_view: Tensor) -> Tensor:
    """Warp normalised images to views `(B, C, H, W)` by one map T `(1, 2, 3)` of continuous pixel coordinates.

    The view's pixel centred at p is the image at T⁻¹p, bilinear; outside the image it is 0, the mean colour.
    """
    height, width = images.shape[2:]
    inverse = geometry.invert(to_view.to(images.device))[0]
    points = geometry.cell_centres(height, width, images)
    source = (points[..., None, :] * inverse[:, :2]).sum(dim=-1) + inverse[:, 2]
    # grid_sample without align_corners calls the frame's edges -1 and 1, so continuous coordinates only scale.
    grid = source * 2 / source.new_tensor([width, height]) - 1
    return F.grid_sample(images.float(), grid.expand(len(images), *grid.shape), align_corners=False)
