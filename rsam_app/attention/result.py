"""What every attention module returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class AttentionResult(NamedTuple):
    """`features` `(B, C, H, W)` as gated, `rectangle` `(B, 5)` in cells of that map, `mask` `(B, H, W)` in [0, 1].

    `level` `(B,)` is the mean factor that gating put on the features, where that is not 1: what a classifier behind it
    is used to.
    """

    features: Tensor
    rectangle: Tensor
    mask: Tensor
    level: Tensor | None = None
