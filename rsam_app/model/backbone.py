"""Feature layout and stages of a timm backbone, found out by running it once on a black image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rsam_app.system.errors import UserError


def has_channels_first(backbone: Any, name: str, in_chans: int = 3, side: int | None = None) -> bool:
    """Whether the backbone's feature maps are `(B, C, H, W)` rather than `(B, H, W, C)`.

    `side` is the input's side in pixels if the backbone was built for another than its own. Raises `UserError` if its
    features are tokens or lists.
    """
    features = _dry_run(backbone, in_chans, side, backbone.forward_features)
    if not isinstance(features, Tensor) or features.ndim != 4:
        shape = "a list" if not isinstance(features, Tensor) else f"tokens of shape {tuple(features.shape[1:])}"
        raise UserError(
            f"model.backbone: {name} gives {shape}, not a feature map, so a rectangle has nothing to gate.\n"
            "Choose a convnet, e.g. mobilenetv2_100, resnet50, convnext_tiny or efficientnet_b0."
        )
    if features.shape[1] == backbone.num_features:
        return True
    if features.shape[3] == backbone.num_features:
        return False
    raise UserError(
        f"model.backbone: {name} gives features of shape {tuple(features.shape[1:])} but declares"
        f" {backbone.num_features} channels. Choose another convnet."
    )


def last_two_channels(backbone: Any, in_chans: int = 3, side: int | None = None) -> tuple[int, ...]:
    """The channels of the backbone's last two stages, earlier first; empty if it does not return its stages' maps."""
    if not hasattr(backbone, "forward_intermediates") or len(getattr(backbone, "feature_info", None) or []) < 2:
        return ()
    _, stages = _dry_run(backbone, in_chans, side, lambda images: backbone.forward_intermediates(images, indices=2))
    return tuple(stage.shape[1] for stage in stages)


def stage_of(backbone: Any, index: int, name: str) -> tuple[str, int]:
    """The module name and the channels of a backbone's stage, counted from 0 as in timm's `feature_info`.

    Raises `UserError` if the backbone has no such stage or does not list its stages.
    """
    info = list(getattr(backbone, "feature_info", None) or [])
    modules = dict(backbone.named_modules())
    usable = [i for i, entry in enumerate(info) if entry.get("module") in modules]
    if index not in usable:
        known = ", ".join(map(str, usable[:-1])) or "none besides the last"
        raise UserError(f"model.stage: {name} has no stage {index} (has: {known}). Choose one of these, or -1.")
    return str(info[index]["module"]), int(info[index]["num_chs"])


def _dry_run(backbone: Any, in_chans: int, side: int | None, run: Callable[[Tensor], Any]) -> Any:
    size = side or (getattr(backbone, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))[-1]
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        result = run(torch.zeros(1, in_chans, size, size))
    backbone.train(training)
    return result
