"""The part of an image that looks most like the object, by the scores of its positions."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.geometry.boxes import mask_edges
from rsam_app.training.discovery.objectness import UPSAMPLE

MARGIN = 0.5
"""A cut may leave the located part by this share of the part's sides."""


def best_part(score: np.ndarray) -> np.ndarray:
    """The connected part of the positive scores `(H, W)` with the largest sum; the highest one if none is positive."""
    positive = (score > 0 if score.max() > 0 else score == score.max()).astype(np.uint8)
    count, labels = cv2.connectedComponents(positive, connectivity=4)
    sums = np.bincount(labels.ravel(), np.clip(score, 1e-6, None).ravel(), minlength=count)
    best: np.ndarray = labels == 1 + sums[1:].argmax()
    return best


def part_masks(scores: Tensor) -> Tensor:
    """For each image the share `(N, H, W)` of each cell that is in the part with the best `scores` `(N, H, W)`."""
    masks = []
    for batch in scores.split(256):
        enlarged = F.interpolate(batch[:, None], scale_factor=UPSAMPLE, mode="bicubic")[:, 0]
        parts = torch.from_numpy(np.stack([best_part(score) for score in enlarged.numpy()])).float()
        masks.append(F.interpolate(parts[:, None], size=scores.shape[1:], mode="area")[:, 0])
    return torch.cat(masks)


def boxes_around(masks: Tensor) -> Tensor:
    """The upright boxes around masks `(N, H, W)`, as masks; in each direction cells count as far as the mask reaches
    into them."""
    return masks.amax(dim=2)[:, :, None] * masks.amax(dim=1)[:, None, :]


def focused(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities `(H, W)`, 0 outside the neighbourhood of the most likely part."""
    enlarged = cv2.resize(
        probabilities.astype(np.float32), None, fx=UPSAMPLE, fy=UPSAMPLE, interpolation=cv2.INTER_CUBIC
    )
    clipped = np.clip(enlarged, 1e-3, 1 - 1e-3)
    left, top, right, bottom = mask_edges(best_part(np.log(clipped / (1 - clipped))))[0] / UPSAMPLE
    across, down = MARGIN * max(1, right - left), MARGIN * max(1, bottom - top)
    rows = slice(max(0, int(np.floor(top - down))), int(np.ceil(bottom + down)))
    columns = slice(max(0, int(np.floor(left - across))), int(np.ceil(right + across)))
    result = np.zeros_like(probabilities)
    result[rows, columns] = probabilities[rows, columns]
    return result
