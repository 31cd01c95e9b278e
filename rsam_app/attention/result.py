"""What every attention module returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class AttentionResult(NamedTuple):
    """`features` `(B, C, H, W)` as gated, `rectangle` `(B, 5)` in cells of that map, `mask` `(B, H, W)` in [0, 1]."""

    features: Tensor
    rectangle: Tensor
    mask: Tensor
