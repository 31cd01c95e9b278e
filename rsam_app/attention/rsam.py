"""The Rectangular Spatial Attention Module: five numbers per image gate a feature map (arXiv 2503.10875)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsam_app.attention import geometry
from rsam_app.attention.gating import GATINGS, gate, gate_plainly
from rsam_app.attention.predictors import PREDICTORS
from rsam_app.attention.result import AttentionResult


class RSAM(nn.Module):
    """Predicts a rotated rectangle, renders it softly and gates the features with it.

    Everything but the gated features is float32, also under autocast. `predictor` is `regression` or `moments`;
    `gating` is `residual` (a learned strength mixes gated features with plain ones), `normalised` (strength 1) or
    `plain` (the mask itself). Raises `ValueError` for another one.
    """

    def __init__(
        self,
        channels: int,
        predictor: str = "regression",
        gating: str = "residual",
        softness: float = geometry.SOFTNESS,
    ) -> None:
        super().__init__()
        if gating not in GATINGS:
            raise ValueError(f"gating is {gating}, not one of {', '.join(GATINGS)}")
        self.predictor = PREDICTORS[predictor](channels)
        self.strength: nn.Parameter | None = nn.Parameter(torch.tensor(0.0)) if gating == "residual" else None
        self.gating, self.softness = gating, softness

    def forward(self, features: Tensor) -> AttentionResult:
        """Gate features `(B, C, H, W)`; the rectangle is in cells of that map."""
        with torch.autocast(features.device.type, enabled=False):
            rectangle = geometry.canonical(self.predictor(features))
            mask = geometry.soft_mask(rectangle, features.shape[2], features.shape[3], self.softness)
            return AttentionResult(self.gate(features, mask), rectangle, mask)

    def gate(self, features: Tensor, mask: Tensor) -> Tensor:
        """Features `(B, C, H, W)` gated by a mask `(B, H, W)` in this module's way."""
        if self.gating == "plain":
            return gate_plainly(features, mask)
        return gate(features, mask, 1.0 if self.strength is None else torch.sigmoid(self.strength))
