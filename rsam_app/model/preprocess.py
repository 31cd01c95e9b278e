"""Normalisation of uint8 images, on the computing device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rsam_app.model.classifier import AttentiveClassifier


def require_mean_and_std(cfg: Mapping[str, Any]) -> None:
    """Raise `ValueError` or `TypeError` unless mean and std are three finite numbers each, those of std above 0."""
    for key, least in (("mean", -math.inf), ("std", 0.0)):
        if len(cfg[key]) != 3 or not all(math.isfinite(value) and value > least for value in cfg[key]):
            raise ValueError(f"its {key} is {cfg[key]}")


def normalise(images: Tensor, model: AttentiveClassifier, device: torch.device) -> Tensor:
    """uint8 images `(B, 3, H, W)` as float32 on `device`, normalised by the model's mean and std, in channels-last
    memory.

    Images travel as bytes: a quarter of the traffic, and no work for the loading processes.
    """
    cfg = model.pretrained_cfg
    mean = torch.tensor(cfg["mean"], device=device).view(3, 1, 1) * 255
    std = torch.tensor(cfg["std"], device=device).view(3, 1, 1) * 255
    moved = images.to(device, non_blocking=True).float()
    return ((moved - mean) / std).contiguous(memory_format=torch.channels_last)
