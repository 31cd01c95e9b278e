"""Views of an image whose geometry is known exactly, so that a rectangle found in one can be carried back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.geometry import rectangles as geometry

TURN = math.radians(15)
SCALE = 0.8
"""The image is shrunk to this share of each side; around it is the mean colour."""
CROP = 0.8
CROP_CENTRE = (0.45, 0.55)
"""The crop keeps this share of each side, about a centre off the middle, and fills the input with it."""


def flip(size: float) -> Tensor:
    """Left and right changed, `(1, 2, 3)`, from pixels of a square image of this side to those of the view."""
    return torch.tensor([[[-1.0, 0.0, size], [0.0, 1.0, 0.0]]])


def turn(size: float, angle: float) -> Tensor:
    """Turned by `angle` (radians, clockwise as displayed) about the middle, `(1, 2, 3)`; corners leave the frame."""
    cos, sin, middle = math.cos(angle), math.sin(angle), size / 2
    shift_x, shift_y = middle - cos * middle + sin * middle, middle - sin * middle - cos * middle
    return torch.tensor([[[cos, -sin, shift_x], [sin, cos, shift_y]]])


def zoom(size: float, factor: float, centre: tuple[float, float] = (0.5, 0.5)) -> Tensor:
    """Enlarged by `factor` so that the relative point `centre` comes to the middle, `(1, 2, 3)`."""
    shift = [size / 2 - factor * c * size for c in centre]
    return torch.tensor([[[factor, 0.0, shift[0]], [0.0, factor, shift[1]]]])


GEOMETRIC: dict[str, Callable[[float], Tensor]] = {
    "flip": flip,
    "rotate_right": lambda size: turn(size, TURN),
    "rotate_left": lambda size: turn(size, -TURN),
    "scale": lambda size: zoom(size, SCALE),
    "crop": lambda size: zoom(size, 1 / CROP, CROP_CENTRE),
}
"""Each an exact similarity of the network input, so that a rectangle stays a rectangle."""


def warp(images: Tensor, to_view: Tensor) -> Tensor:
    """Views `(B, C, H, W)` of normalised images through one map `(1, 2, 3)` of continuous pixel coordinates: the view's
    pixel with its centre at p shows the image at T⁻¹p, bilinear. What lies outside the image is 0, the mean colour.
    """
    height, width = images.shape[2:]
    inverse = geometry.invert(to_view.to(images.device))[0]
    points = geometry.cell_centres(height, width, images)
    source = points @ inverse[:, :2].T + inverse[:, 2]
    # grid_sample without align_corners calls the frame's edges -1 and 1, so continuous coordinates only scale.
    grid = source * 2 / source.new_tensor([width, height]) - 1
    return F.grid_sample(images.float(), grid.expand(len(images), *grid.shape), align_corners=False)
