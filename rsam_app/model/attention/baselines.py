"""Position-wise spatial attention, one free value per position: the baselines for RSAM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsam_app.geometry import rectangles as geometry
from rsam_app.model.attention.gating import AttentionResult, gate, gate_plainly


class PositionwiseAttention(nn.Module):
    """The spatial half of CBAM (Woo et al., ECCV 2018, arXiv 1807.06521, equation 5): a 7 × 7 convolution of the
    channels' mean and maximum, through a sigmoid, gates each position.

    The rectangle has the mask's moments, so that it can be shown and scored beside RSAM's; it is not learned. The
    paper gates plainly, f · m; by default (`plain` False) the mask is first normalised to a mean of one.
    """

    def __init__(self, channels: int, kernel_size: int = 7, plain: bool = False) -> None:
        super().__init__()
        self.plain = plain
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, features: Tensor) -> AttentionResult:
        """Gate features `(B, C, H, W)`; the rectangle is in cells of that map."""
        with torch.autocast(features.device.type, enabled=False):
            exact = geometry.at_least_float32(features)
            summary = torch.stack([exact.mean(dim=1), exact.amax(dim=1)], dim=1)
            mask = torch.sigmoid(self.conv(summary))[:, 0]
            gated = gate_plainly(features, mask) if self.plain else gate(features, mask)
            level = mask.mean(dim=(1, 2)) if self.plain else None
            return AttentionResult(gated, moments_above_minimum(mask), mask, level)


class MapAttention(nn.Module):
    """A plain learned map: a 1 × 1 convolution of all channels to one, through a sigmoid, gates each position.

    Unlike CBAM it uses all channels, but no neighbouring positions. The rectangle has the mask's moments.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, 1, kernel_size=1)

    def forward(self, features: Tensor) -> AttentionResult:
        """Gate features `(B, C, H, W)`; the rectangle is in cells of that map."""
        with torch.autocast(features.device.type, enabled=False):
            mask = torch.sigmoid(self.score(geometry.at_least_float32(features)))[:, 0]
            return AttentionResult(gate(features, mask), moments_above_minimum(mask), mask)


def moments_above_minimum(mask: Tensor) -> Tensor:
    """The rectangles `(B, 5)`, in cells, with the moments of masks `(B, H, W)` less their own minimum."""
    return geometry.canonical(geometry.from_moments(mask - mask.amin(dim=(1, 2), keepdim=True)))
