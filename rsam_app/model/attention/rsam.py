"""The Rectangular Spatial Attention Module: five numbers per image gate a feature map (arXiv 2503.10875)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rsam_app.geometry import rectangles as geometry
from rsam_app.model.attention.gating import GATINGS, AttentionResult, gate, gate_plainly
from rsam_app.model.attention.predictors import PREDICTORS

GATES = {"wide": (1.6, 1.0, "plain"), "tight": (1.0, geometry.SOFTNESS, "residual")}
"""How a rectangle gates: widened by the first number, with edges as soft as the second, in cells, and in which way.

A cell of a pretrained network's last map sees far past its own borders, so a gate as tight as the rectangle loses more
than it keeps out: on frozen features of birds the wide one, residual, has 71.4 % top-1, the tight one 70.7, no gate
71.3. Plain gating is above residual on all three datasets (birds 71.6, pets 95.2 against 94.6, beetles 81.7 against
79.8; five seeds, `benchmarks/results/attention_resized_by_area.md`) and its rectangles are steadier; they cover a
little less. The demo's small network, from scratch with a misleading background, has 78.5 tight and residual, 71.5 wide
and residual (one seed)."""


class RSAM(nn.Module):
    """Predicts a rotated rectangle, renders it softly and gates the features with it.

    Everything but the gated features is float32, also under autocast. `predictor` is `profiles`, `regression` or
    `moments`; the first looks at the maps of a backbone's stages, of `stage_channels` each, where there are any.
    The mask it reports is the rectangle's own; what gates reaches as far as `reach` says, in its way (see `GATES`) or
    by another `gating`: `plain` (times the mask), `normalised` (times the mask brought to a mean of one) or `residual`
    (a learned strength mixes that with the features as they are). Raises `ValueError` for another one.
    """

    def __init__(
        self,
        channels: int,
        predictor: str = "profiles",
        stage_channels: Sequence[int] = (),
        gating: str | None = None,
        reach: str = "wide",
    ) -> None:
        super().__init__()
        self.context, self.gate_softness, usual = GATES[reach]
        gating = gating or usual
        if gating not in GATINGS:
            raise ValueError(f"gating is {gating}, not one of {', '.join(GATINGS)}")
        made = PREDICTORS[predictor]
        self.looks_at_stages = bool(made.looks_at_stages and stage_channels)
        self.predictor = made(stage_channels if self.looks_at_stages else (channels,))
        self.strength: nn.Parameter | None = nn.Parameter(torch.tensor(0.0)) if gating == "residual" else None
        self.gating = gating

    def forward(self, features: Tensor, stages: Sequence[Tensor] = ()) -> AttentionResult:
        """Gate features `(B, C, H, W)`; the rectangle is in cells of that map. `stages` are the maps of the backbone's
        stages, for a predictor that looks at them."""
        with torch.autocast(features.device.type, enabled=False):
            seen = self.evidence(features, stages)
            rectangle = self.predictor(seen)
            if seen[-1].shape[2:] != features.shape[2:]:
                rectangle = geometry.rescale(rectangle, seen[-1].shape[2:], features.shape[2:])
            rectangle = geometry.canonical(rectangle)
            height, width = features.shape[2:]
            around = torch.cat([rectangle[:, :2], rectangle[:, 2:4] * self.context, rectangle[:, 4:]], dim=1)
            reached = geometry.soft_mask(around, height, width, self.gate_softness)
            level = reached.mean(dim=(1, 2)) if self.gating == "plain" else None
            mask = geometry.soft_mask(rectangle, height, width)
            return AttentionResult(self.gate(features, reached), rectangle, mask, level)

    def evidence(self, features: Tensor, stages: Sequence[Tensor] = ()) -> Sequence[Tensor]:
        """The maps that the predictor looks at: those of the stages, or the gated one."""
        return stages if self.looks_at_stages else [features]

    def gate(self, features: Tensor, mask: Tensor) -> Tensor:
        """Features `(B, C, H, W)` gated by a mask `(B, H, W)` in this module's way."""
        if self.gating == "plain":
            return gate_plainly(features, mask)
        return gate(features, mask, 1.0 if self.strength is None else torch.sigmoid(self.strength))
