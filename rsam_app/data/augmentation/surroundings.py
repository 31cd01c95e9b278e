"""Exchanged surroundings: the content of an image's target rectangle at its place on another image.

A classifier that is trained on them cannot rely on what surrounds an object. As in Xiao et al., "Noise or Signal" (ICLR
2021, arXiv 2006.09994), but along rectangles, and with the label of the content.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from rsam_app.geometry import rectangles as geometry

CONTEXT = 1.2
"""How much wider than the rectangle the content is."""

SOFTNESS = 0.01
"""Of its edges, as a share of the image's side."""


def exchange_surroundings(view: np.ndarray, rectangle: Tensor, other: np.ndarray, hidden: Tensor | None) -> np.ndarray:
    """`other` with the content of the `rectangle` `(5,)` of `view`; both `(S, S, 3)` uint8.

    What `other` shows in the rectangle `hidden` gives way to its pixels half a side away.
    """
    if hidden is not None:
        elsewhere = np.roll(other, (len(other) // 2, len(other) // 2), axis=(0, 1))
        other = _blend(elsewhere, other, hidden)
    return _blend(view, other, rectangle)


def _blend(inside: np.ndarray, outside: np.ndarray, rectangle: Tensor) -> np.ndarray:
    share = content_share(rectangle[None], len(inside), len(inside))[0].numpy()
    return cv2.blendLinear(inside, outside, share, 1 - share)


def content_share(rectangles: Tensor, height: int, width: int) -> Tensor:
    """The share `(B, height, width)` in [0, 1] of each pixel that belongs to the content of rectangles `(B, 5)`."""
    widened = torch.cat([rectangles[:, :2], rectangles[:, 2:4] * CONTEXT, rectangles[:, 4:]], dim=1)
    return geometry.soft_mask(widened, height, width, SOFTNESS * max(height, width))
