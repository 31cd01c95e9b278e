"""Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391), which locates models without attention."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rsam_app.data.loader import Batch
from rsam_app.data.records import Record
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.geometry.types import Floats
from rsam_app.model import AttentiveClassifier

THRESHOLD = 0.15
"""A map's box encloses the cells above this share of its maximum (section 4.1)."""

Maps = NDArray[np.float32]


def cam_from_gradients(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM `(B, H, W)`, ≥ 0, from feature maps `(B, C, H, W)` and a class score's gradients by them (equations 1,
    2):

        α = mean of the gradient over the map, one per channel;  map = ReLU(Σ α · features)

    For a linear classifier on pooled features α is its class's weights over H·W, so `gradients` may be those weights
    `(B, C, 1, 1)`: the map is then the same up to that factor.
    """
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * features).sum(dim=1).relu().float()


def grad_cam(model: AttentiveClassifier, images: Tensor) -> Tensor:
    """Grad-CAM `(B, H, W)`, ≥ 0, of the predicted class of normalised images `(B, 3, S, S)`, on the feature map.

    It goes through attention if the model has any. The backbone runs without gradients.
    """
    with torch.no_grad():
        features, stages = model.maps(model.shrink(images))
    features.requires_grad_()
    attended = model.attend(features, stages)
    logits = model.forward_head(attended.features if attended else features)
    predicted = logits.gather(1, logits.argmax(dim=1, keepdim=True))
    (gradients,) = torch.autograd.grad(predicted.sum(), features)
    return cam_from_gradients(features.detach(), gradients)


def grad_cam_maps(runner: ModelRunner, records: Sequence[Record]) -> Maps:
    """Grad-CAM `(N, H, W)` of whole images, in record order, by this process alone."""

    def maps(images: Tensor, _: Batch) -> Maps:
        with runner.autocast():
            return grad_cam(runner.model, images).cpu().numpy()

    return np.concatenate(runner.run(runner.whole_images(records), maps, gradients=True))


def upsample(maps: Maps, grid: int) -> Maps:
    """Maps `(N, H, W)` over the whole image, interpolated bilinearly to `(N, grid, grid)`."""
    return np.stack([cv2.resize(m, (grid, grid), interpolation=cv2.INTER_LINEAR) for m in maps.astype(np.float32)])


def map_box(soft_mask: Floats, threshold: float = THRESHOLD) -> Floats:
    """The box `left, top, right, bottom` `(4,)`, in cells, around the largest connected part of a map `(H, W)` above a
    share of its maximum; zeros for a map without a positive value."""
    peak = soft_mask.max()
    if not peak > 0:
        return np.zeros(4)
    above = (soft_mask > threshold * peak).astype(np.uint8)
    _, _, parts, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    left, top, width, height, _ = parts[1 + int(parts[1:, cv2.CC_STAT_AREA].argmax())]
    return np.array([left, top, left + width, top + height], dtype=np.float64)
