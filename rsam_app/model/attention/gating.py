"""Gating of features by a soft mask, and the result of an attention module."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

GATINGS = ("residual", "normalised", "plain")


class AttentionResult(NamedTuple):
    """Gated `features` `(B, C, H, W)`, the `rectangle` `(B, 5)` in cells of that map, and its `mask` `(B, H, W)` in
    [0, 1].

    `level` `(B,)` is the mean factor that gating put on the features, which a classifier behind it learns to expect;
    None if it is 1.
    """

    features: Tensor
    rectangle: Tensor
    mask: Tensor
    level: Tensor | None = None


def gate(features: Tensor, mask: Tensor, strength: Tensor | float = 1.0) -> Tensor:
    """Features `(B, C, H, W)` gated by a mask `(B, H, W)` of normalised mean:

        f' = f · (1 + strength · (m / mean(m) - 1))

    Average pooling of f' at strength 1 is the mask-weighted mean of f, whatever the mask's area, so a classifier that
    was trained on plain averages receives features of the size it knows; strength 0 changes nothing. (area-normalised
    and residual gating; ours)
    """
    normalised = mask / mask.mean(dim=(1, 2), keepdim=True).clamp_min(1e-4)
    factor = 1 + strength * (normalised - 1)
    return features * factor[:, None].to(features.dtype)


def gate_plainly(features: Tensor, mask: Tensor) -> Tensor:
    """Features `(B, C, H, W)` times a mask `(B, H, W)`: f' = f · m. Their average pool shrinks with the mask's area."""
    return features * mask[:, None].to(features.dtype)
