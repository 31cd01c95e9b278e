"""Where a classifier without attention looked: the class map of its own prediction, as a rectangle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsam_app.geometry import rectangles as geometry
from rsam_app.model.attention.gating import AttentionResult

THRESHOLD = 0.3
"""Evidence below this share of the map's maximum does not count."""


class ClassMapAttention(nn.Module):
    """The rectangle with the moments of the evidence for the predicted class; the features stay as they are.

    It has no parameters: a model that others trained keeps its answers and gets a rectangle. With a linear head on
    pooled features the evidence is the class activation map (Zhou et al. 2016, arXiv 1512.04150), which Grad-CAM
    equals there.
    """

    def forward(self, features: Tensor, evidence: Tensor) -> AttentionResult:
        """The result for features `(B, C, H, W)` and evidence `(B, H, W)` on the same cells; cells in which it is not
        above `THRESHOLD` of its maximum count as nothing."""
        with torch.autocast(features.device.type, enabled=False):
            evidence = geometry.at_least_float32(evidence)
            peak = evidence.amax(dim=(1, 2), keepdim=True).clamp_min(0)
            rectangle = geometry.canonical(geometry.from_moments((evidence - THRESHOLD * peak).relu()))
            return AttentionResult(features, rectangle, geometry.soft_mask(rectangle, *features.shape[2:]))
