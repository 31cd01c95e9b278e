"""Annotations of an image as a view of it shows them: the view's affine carries boxes, masks and rectangles alike."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsam_app.attention import geometry
from rsam_app.data.records import Box
from rsam_app.data.visible import visible_part

Rectangle = tuple[float, float, float, float, float]


def rectangle_in_view(rectangle: Rectangle, to_image: np.ndarray, size: int) -> tuple[Tensor, float]:
    """What a view of `size` pixels shows of a rectangle in image pixels: the smallest one of its angle around that,
    `(5,)` in the view's pixels, and the share of its area that is in sight. `to_image` `(2, 3)` leads from the view's
    pixels to the image's."""
    to_view = geometry.invert(torch.from_numpy(to_image)[None])
    return visible_part(geometry.transform(torch.tensor([rectangle]), to_view)[0], size, size)


def boxes_in_view(boxes: Sequence[Box], to_image: np.ndarray, size: int) -> list[tuple[Tensor, float]]:
    """The same of upright boxes, which are rectangles with an angle of 0 and need not stay upright."""
    found = [(x + width / 2, y + height / 2, width, height, 0.0) for x, y, width, height in boxes]
    return [rectangle_in_view(rectangle, to_image, size) for rectangle in found]


def mask_in_view(mask: npt.NDArray[np.bool_], to_image: np.ndarray, size: int) -> npt.NDArray[np.bool_]:
    """A mask `(H, W)` of the displayed image as the view shows it, `(size, size)`; False beyond the image."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    by_index = to_image.astype(float) @ half - [[0, 0, 0.5], [0, 0, 0.5]]  # OpenCV counts from pixel centres
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    shown: npt.NDArray[np.bool_] = cv2.warpAffine(mask.astype(np.uint8), by_index, (size, size), flags=flags) > 0
    return shown
