"""Where a classifier without attention looked: the class map of its own prediction, as a rectangle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsam_app.geometry import rectangles as geometry
from rsam_app.model.attention.gating import AttentionResult


class ClassMapAttention(nn.Module):
    """The rectangle with the moments of the evidence for the predicted class; the features stay as they are.

    It has no parameters: a model that others trained keeps its answers and gets a rectangle. With a linear head on
    pooled features the evidence is the class activation map (Zhou et al. 2016, arXiv 1512.04150), which Grad-CAM
    equals there.
    """

    def forward(self, features: Tensor, evidence: Tensor) -> AttentionResult:
        """The result for features `(B, C, H, W)` and evidence `(B, H, W)` on the same cells; evidence against the class
        counts as none."""
        with torch.autocast(features.device.type, enabled=False):
            evidence = geometry.at_least_float32(evidence)
            rectangle = geometry.canonical(geometry.from_moments(evidence.relu()))
            return AttentionResult(features, rectangle, geometry.soft_mask(rectangle, *features.shape[2:]))
