"""Whether the rectangles say anything: they may swell over the image, shrink to nothing, or all be the same."""

from __future__ import annotations

import numpy as np

from rsam_app.evaluation.accuracy import Floats
from rsam_app.evaluation.overlap import rotated_iou, visible_areas

LARGE, SMALL = 0.9, 0.02


def degeneracy(rectangles: Floats, sizes: Floats) -> dict[str, float]:
    """How degenerate rectangles `(N, 5)` in pixels of images of `sizes` `(N, 2)` are.

    `share_large` and `share_small`: shares of rectangles that cover more than .9, or less than .02, of their image.
    `mean_area`: the mean of that share. `centre_spread_x` and `_y`: standard deviations of the centre, relative to the
    image; 0 is a model that points at one place. `mean_rectangle_iou`: mean rotated IoU with the data set's mean
    rectangle; 1 is a model that always gives the same answer.
    """
    area = visible_areas(rectangles, sizes)
    spread = (rectangles[:, :2] / sizes).std(axis=0)
    return {
        "share_large": float((area > LARGE).mean()),
        "share_small": float((area < SMALL).mean()),
        "mean_area": float(area.mean()),
        "centre_spread_x": float(spread[0]),
        "centre_spread_y": float(spread[1]),
        "mean_rectangle_iou": float(rotated_iou(rectangles, mean_rectangles(rectangles, sizes)).mean()),
    }


def mean_rectangles(rectangles: Floats, sizes: Floats) -> Floats:
    """The mean rectangle of all, placed into each image: `(N, 5)` in pixels.

    Centres are averaged relative to the image; extent and angle through the symmetric matrix Q diag(width, height) Qᵀ
    (Q the rotation) in units of √(image area), which does not care whether width or height comes first. (ours)
    """
    unit = np.sqrt(sizes.prod(axis=1))
    cos, sin = np.cos(rectangles[:, 4]), np.sin(rectangles[:, 4])
    turn = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    extent = (turn * (rectangles[:, None, 2:4] / unit[:, None, None])) @ turn.transpose(0, 2, 1)
    lengths, directions = np.linalg.eigh(extent.mean(axis=0))
    centre = (rectangles[:, :2] / sizes).mean(axis=0) * sizes
    size = np.clip(lengths[::-1], 0.0, None) * unit[:, None]
    angle = np.full((len(rectangles), 1), np.arctan2(directions[1, 1], directions[0, 1]))
    return np.concatenate([centre, size, angle], axis=1)
