"""The Rectangular Spatial Attention Module: five numbers per image gate a feature map (arXiv 2503.10875)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rsam_app.geometry import rectangles as geometry
from rsam_app.model.attention.gating import GATINGS, AttentionResult, gate, gate_plainly
from rsam_app.model.attention.predictors import PREDICTORS

GATES = {
    "wide": (1.6, 1.0, "plain"),
    "tight": (1.0, geometry.SOFTNESS, "residual"),
    "published": (1.0, geometry.SOFTNESS, "plain"),
}
"""The gate of each reach: the factor that widens the rectangle, the softness of its edges in cells, and the gating.

A cell of a pretrained network's last map sees far past its own borders, so a gate as tight as the rectangle loses more
than it keeps out: on frozen features of birds, residual gating reaches 71.4 % top-1 wide and 70.7 tight, against 71.3
without a gate. Plain gating beats residual on all three datasets (birds 71.6, pets 95.2 against 94.6, beetles 81.7
against 79.8; five seeds, `benchmarks/results/attention_resized_by_area.md`) and its rectangles are steadier but cover a
little less. The demo's small network, trained from scratch on a misleading background, reaches 78.5 tight and 71.5
wide, both residual (one seed)."""


class RSAM(nn.Module):
    """Predicts a rotated rectangle, renders it as a soft mask and gates the features with it.

    Everything but the gated features is float32, also under autocast. `predictor` is `peaks`, `profiles`,
    `regression` or `moments`; the first two use the maps of a backbone's stages, of `stage_channels` each, if there are
    any. The returned mask is the rectangle's own; the gate is as wide as `reach` (see `GATES`), which also sets the
    default `gating`: `plain` (times the mask), `normalised` (times the mask with its mean brought to one) or `residual`
    (a learned mixture of normalised and ungated features). Raises `ValueError` for an unknown gating.
    """

    def __init__(
        self,
        channels: int,
        predictor: str = "peaks",
        stage_channels: Sequence[int] = (),
        gating: str | None = None,
        reach: str = "wide",
    ) -> None:
        super().__init__()
        self.context, self.gate_softness, default = GATES[reach]
        gating = gating or default
        if gating not in GATINGS:
            raise ValueError(f"gating is {gating}, not one of {', '.join(GATINGS)}")
        self.uses_stages = bool(PREDICTORS[predictor].uses_stages and stage_channels)
        self.evidence_channels = tuple(stage_channels) if self.uses_stages else (channels,)
        self.predictor = PREDICTORS[predictor](self.evidence_channels)
        self.strength: nn.Parameter | None = nn.Parameter(torch.tensor(0.0)) if gating == "residual" else None
        self.gating = gating

    @classmethod
    def as_published(cls, channels: int) -> RSAM:
        """The module in the paper's plain setting: five numbers regressed from the gated map, and features times the
        mask of the rectangle itself."""
        return cls(channels, predictor="regression", reach="published")

    def forget(self, seed: int) -> None:
        """Give the predictor new initial weights, drawn by `seed`, as if it had never learned; on the same device."""
        device = next(self.predictor.parameters()).device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.predictor = type(self.predictor)(self.evidence_channels).to(device)

    def forward(self, features: Tensor, stages: Sequence[Tensor] = ()) -> AttentionResult:
        """Gate features `(B, C, H, W)`; the rectangle is in cells of that map. `stages` are the backbone's stage maps,
        for a predictor that uses them."""
        with torch.autocast(features.device.type, enabled=False):
            evidence = self.evidence(features, stages)
            rectangle = self.predictor(evidence)
            if evidence[-1].shape[2:] != features.shape[2:]:
                rectangle = geometry.rescale(rectangle, evidence[-1].shape[2:], features.shape[2:])
            rectangle = geometry.canonical(rectangle)
            height, width = features.shape[2:]
            widened = torch.cat([rectangle[:, :2], rectangle[:, 2:4] * self.context, rectangle[:, 4:]], dim=1)
            gate_mask = geometry.soft_mask(widened, height, width, self.gate_softness)
            level = gate_mask.mean(dim=(1, 2)) if self.gating == "plain" else None
            mask = geometry.soft_mask(rectangle, height, width)
            return AttentionResult(self.gate(features, gate_mask), rectangle, mask, level)

    def evidence(self, features: Tensor, stages: Sequence[Tensor] = ()) -> Sequence[Tensor]:
        """The maps that the rectangle is predicted from: those of the stages, or the gated one."""
        return stages if self.uses_stages else [features]

    def gate(self, features: Tensor, mask: Tensor) -> Tensor:
        """Features `(B, C, H, W)` gated by a mask `(B, H, W)` with this module's gating."""
        if self.gating == "plain":
            return gate_plainly(features, mask)
        return gate(features, mask, 1.0 if self.strength is None else torch.sigmoid(self.strength))
