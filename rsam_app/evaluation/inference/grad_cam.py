"""Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391): where a model without attention has its evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import ShardedBatches
from rsam_app.evaluation.inference.run_model import all_cores
from rsam_app.geometry.types import Floats
from rsam_app.model import AttentiveClassifier
from rsam_app.model.preprocess import normalise
from rsam_app.system.precision import autocast

THRESHOLD = 0.15
"""A map's box is around what exceeds this share of its maximum (section 4.1)."""

Maps = NDArray[np.float32]


def cam_from_gradients(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM `(B, H, W)`, ≥ 0, of feature maps `(B, C, H, W)` and a class score's gradients by them (equations 1, 2):

        α = mean of the gradient over the map, one per channel;  map = ReLU(Σ α · features)

    For a linear classifier on pooled features α is its class's weights over H·W, so `gradients` may be those weights
    `(B, C, 1, 1)`: the map is then the same up to that factor.
    """
    weights = gradients.float().mean(dim=(2, 3), keepdim=True)
    return (weights * features.float()).sum(dim=1).relu()


class HeadOfFeatures(nn.Module):
    """A classifier from its feature map on, the map being the output of the layer `map`, where Grad-CAM hooks in."""

    def __init__(self, model: AttentiveClassifier, stages: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.model, self.stages = model, stages
        self.map = nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Logits `(B, classes)` of feature maps `(B, C, H, W)`, attention included where there is one."""
        seen = self.map(features)
        result = self.model.attend(seen, self.stages)
        return self.model.forward_head(result.features if result else seen)


def grad_cam(model: AttentiveClassifier, images: Tensor) -> Tensor:
    """Grad-CAM `(B, H, W)`, ≥ 0, on the feature map for the class that each normalised image `(B, 3, S, S)` is
    predicted to be. Computed by Captum; the backbone runs once, without gradients."""
    from captum.attr import LayerGradCam

    with torch.no_grad():
        features, stages = model.maps(model.shrink(images))
        head = HeadOfFeatures(model, stages)
        predicted = head(features).argmax(dim=1)
    features = features.detach().requires_grad_()
    maps: Tensor = LayerGradCam(head, head.map).attribute(features, target=predicted, relu_attributions=True)
    return maps[:, 0].detach().float()


def grad_cam_maps(
    model: AttentiveClassifier,
    records: Sequence[Record],
    class_index: Mapping[str, int],
    batch_size: int,
    device: torch.device,
    precision: str,
    workers: int = 0,
    advance: Callable[[int], object] = lambda images: None,
) -> Maps:
    """Grad-CAM `(N, H, W)` of whole images, in the order of the records, by this process alone."""
    size = int(model.pretrained_cfg["input_size"][-1])
    batches = ShardedBatches(len(records), batch_size)
    loader = make_loader(Views(records, class_index, size), batches, workers, device.type == "cuda")
    training = model.training
    model.eval()
    found = []
    with all_cores():
        for batch in loader:
            images = normalise(batch["image"], model, device)
            with autocast(precision, device):
                found.append(grad_cam(model, images).cpu().numpy())
            advance(len(images))
    model.train(training)
    return np.concatenate(found)


def upsample(maps: Maps, grid: int) -> Maps:
    """Maps `(N, H, W)` bilinearly on a `grid × grid` one, `(N, grid, grid)`; both lie over the whole image."""
    return np.stack([cv2.resize(m, (grid, grid), interpolation=cv2.INTER_LINEAR) for m in maps.astype(np.float32)])


def map_box(soft_mask: Floats, threshold: float = THRESHOLD) -> Floats:
    """The box `left, top, right, bottom` `(4,)`, in cells, around the largest connected part of a map `(H, W)` that
    exceeds a share of its maximum; zeros for a map without a positive value."""
    peak = soft_mask.max()
    if not peak > 0:
        return np.zeros(4)
    above = (soft_mask > threshold * peak).astype(np.uint8)
    _, _, parts, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    left, top, width, height, _ = parts[1 + int(parts[1:, cv2.CC_STAT_AREA].argmax())]
    return np.array([left, top, left + width, top + height], dtype=np.float64)
