"""The Rectangular Spatial Attention Module: five numbers per image gate a feature map (arXiv 2503.10875)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsam_app.attention import geometry
from rsam_app.attention.gating import gate
from rsam_app.attention.predictors import PREDICTORS
from rsam_app.attention.result import AttentionResult


class RSAM(nn.Module):
    """Predicts a rotated rectangle, renders it softly and gates the features with it.

    Everything but the gated features is float32, also under autocast. `predictor` is `regression` or `moments`.
    """

    def __init__(self, channels: int, predictor: str = "regression", softness: float = geometry.SOFTNESS) -> None:
        super().__init__()
        self.predictor = PREDICTORS[predictor](channels)
        self.strength = nn.Parameter(torch.tensor(0.0))
        self.softness = softness

    def forward(self, features: Tensor) -> AttentionResult:
        """Gate features `(B, C, H, W)`; the rectangle is in cells of that map."""
        with torch.autocast(features.device.type, enabled=False):
            rectangle = geometry.canonical(self.predictor(features))
            mask = geometry.soft_mask(rectangle, features.shape[2], features.shape[3], self.softness)
            gated = gate(features, mask, torch.sigmoid(self.strength))
        return AttentionResult(gated, rectangle, mask)
