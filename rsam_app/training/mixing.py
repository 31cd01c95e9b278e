"""Mixup and CutMix: training images as mixtures of two, on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rsam_app.config import MixConfig


@dataclass(frozen=True)
class Mixture:
    """Images `(B, 3, H, W)` of which each shows `share` of itself and the rest of the one at `partner` `(B,)`."""

    images: Tensor
    partner: Tensor
    share: float


def mix(images: Tensor, config: MixConfig, seed: tuple[int, ...]) -> Mixture | None:
    """A batch mixed with its own permutation, or None where it stays as it is; all draws follow `seed` alone.

    Mixup adds two images (Zhang et al. 2018, arXiv 1710.09412), CutMix pastes a rectangle of the other (Yun et al.
    2019, arXiv 1905.04899); where both are wanted, each batch draws one of them.
    """
    draws = np.random.default_rng(seed)
    wanted = [name for name in ("mixup", "cutmix") if getattr(config, name) > 0]
    if not wanted or len(images) < 2 or draws.random() >= config.share:
        return None
    name = wanted[int(draws.integers(len(wanted)))]
    alpha = getattr(config, name)
    share = float(draws.beta(alpha, alpha))
    partner = torch.from_numpy(draws.permutation(len(images))).to(images.device)
    other = images[partner]
    if name == "mixup":
        return Mixture(share * images + (1 - share) * other, partner, share)
    height, width = images.shape[2:]
    cut_height, cut_width = (round(side * np.sqrt(1 - share)) for side in (height, width))
    top, left = int(draws.integers(height - cut_height + 1)), int(draws.integers(width - cut_width + 1))
    pasted = images.clone()
    window = (..., slice(top, top + cut_height), slice(left, left + cut_width))
    pasted[window] = other[window]
    return Mixture(pasted, partner, 1 - cut_height * cut_width / (height * width))
