"""Share of the evidence on the feature map that lies outside the rectangle."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.geometry import rectangles as geometry


def outside_activation(class_map: Tensor, mask: Tensor) -> Tensor:
    """Share of the predicted class's activation that lies outside the soft mask: `(B,)` in [0, 1].

    `class_map` `(B, H, W)` is each cell's evidence for the class (see `AttentiveClassifier.class_map`), counted above
    the map's mean; `mask` `(B, h, w)` is the rectangle rendered on a map of any size. 0: the rectangle contains all
    evidence for the class; 1: none. A uniform map gives the share of the image outside. Use it to find rectangles
    beside, or too small for, what the model recognises; `outside_evidence` tests whether the prediction would be the
    same without the inside, however small that is.

    Class activation maps are Zhou et al. 2016's (arXiv 1512.04150); the share outside the rectangle is ours.
    """
    above = (class_map - class_map.mean(dim=(1, 2), keepdim=True)).clamp_min(0)
    flat = above.sum(dim=(1, 2)) <= torch.finfo(above.dtype).tiny
    weights = torch.where(flat[:, None, None], torch.ones_like(above), above)
    inside = geometry.at_least_float32(mask)
    if inside.shape[1:] != weights.shape[1:]:
        inside = F.interpolate(inside[:, None], size=weights.shape[1:], mode="area")[:, 0]
    return (weights * (1 - inside)).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))
