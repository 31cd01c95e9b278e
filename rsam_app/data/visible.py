"""The part of a rectangle that a view still shows."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from rsam_app.attention import geometry


def visible_part(rectangle: Tensor, width: int, height: int) -> tuple[Tensor, float]:
    """The smallest rectangle of the same angle around what lies inside a `width × height` view, and the share of the
    area that does, in [0, 1]. `rectangle` `(5,)` in the view's pixels. Nothing visible: the rectangle itself and 0."""
    view = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    points = geometry.corners(rectangle[None])[0].numpy().astype(np.float32)
    area = float(rectangle[2] * rectangle[3])
    inside, polygon = cv2.intersectConvexConvex(points, view)
    if inside <= 0 or area <= 0 or polygon is None:
        return rectangle, 0.0
    if inside >= area * (1 - 1e-4):
        return rectangle, 1.0
    cos, sin = float(torch.cos(rectangle[4])), float(torch.sin(rectangle[4]))
    turn = np.array([[cos, sin], [-sin, cos]])
    local = polygon.reshape(-1, 2) @ turn.T
    low, high = local.min(axis=0), local.max(axis=0)
    centre = (low + high) / 2 @ turn
    values = [*centre, *(high - low), float(rectangle[4])]
    return torch.tensor(values, dtype=torch.float32), min(1.0, inside / area)
