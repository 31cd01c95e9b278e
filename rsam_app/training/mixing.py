"""Mixup and CutMix of training images, on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rsam_app.config import MixConfig


@dataclass(frozen=True)
class Mixture:
    """Images `(B, 3, H, W)`, each with a `share` of itself and the rest of the image at its `partner` `(B,)`."""

    images: Tensor
    partner: Tensor
    share: float


def mix(images: Tensor, config: MixConfig, seed: tuple[int, ...]) -> Mixture | None:
    """A batch mixed with a permutation of itself, or None if it stays unmixed; all draws follow `seed` alone.

    Mixup adds two images (Zhang et al. 2018, arXiv 1710.09412), CutMix pastes a rectangle of the other (Yun et al.
    2019, arXiv 1905.04899); if both are enabled, each batch draws one of them.
    """
    draws = np.random.default_rng(seed)
    enabled = [name for name in ("mixup", "cutmix") if getattr(config, name) > 0]
    if not enabled or len(images) < 2 or draws.random() >= config.share:
        return None
    name = enabled[int(draws.integers(len(enabled)))]
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
