"""Feature layout and stages of a timm backbone, found out by running it once on a black image."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rsam_app.model.feature_layout import Entry, Layout, MapLayout, TokenLayout
from rsam_app.system.errors import UserError

NEAREST = {
    "pit": "a ViT with a class token, e.g. deit_tiny_patch16_224, or a pooling one, e.g. levit_128s",
    "efficientvim": "another small hybrid, e.g. efficientformerv2_s0 or tiny_vit_5m_224",
}
"""For timm's modules whose features cannot be gated, by name: what comes nearest."""

ELSE = "a convnet, e.g. mobilenetv2_100 or convnext_tiny, or a ViT, e.g. vit_small_patch16_224"


def layout_of(backbone: Any, name: str, in_chans: int = 3, side: int | None = None) -> Layout:
    """The layout of the backbone's features.

    `side` is the input's side in pixels if the backbone was built for another than its own. Raises `UserError` if its
    features cannot be gated.
    """
    features = dry_run(backbone, in_chans, side, backbone.forward_features)
    shapes = require_gateable(features, backbone, name)
    if isinstance(features, Tensor) and features.ndim == 4:
        return MapLayout(backbone.num_features, features.shape[1] == backbone.num_features)
    tensors, is_list = (features, True) if isinstance(features, list) else ([features], False)
    reads = partial(_reads, backbone, tensors, is_list)
    entries = []
    for i, (prefix, channels) in enumerate(shapes):
        entries.append(Entry(channels, prefix, tuple(place for place in range(prefix) if reads(i, place, place + 1))))
    reads_patches = any(reads(i, prefix, None) for i, (prefix, _) in enumerate(shapes))
    if is_list and reads_patches:
        raise UserError(
            f"model.backbone: {name} pools several grids of patches, which no single rectangle can gate.\n"
            "Remove global_pool from model.backbone_args, so that it reads its class tokens."
        )
    reroll = None
    if hasattr(backbone, "reroll"):
        reroll = partial(backbone.reroll, block_idx=len(backbone.blocks) - 1)
    return TokenLayout(tuple(entries), is_list, reads_patches, reroll)


def require_gateable(features: Any, backbone: Any, name: str) -> list[tuple[int, int]]:
    """The prefix tokens and the channels of each tensor of tokens; empty if the features are a map.

    Raises `UserError`, with the nearest backbones that can, if they are neither a map nor grids of tokens.
    """
    wanted = backbone.num_features
    if isinstance(features, Tensor) and features.ndim == 4 and wanted in (features.shape[1], features.shape[3]):
        return []
    tensors = [features] if isinstance(features, Tensor) else features
    if isinstance(tensors, list) and all(isinstance(t, Tensor) and t.ndim == 3 for t in tensors):
        channels = [t.shape[2] for t in tensors]
        prefixes = [_prefix(t.shape[1], backbone, alone=len(tensors) == 1) for t in tensors]
        alike = sum(channels) == wanted or set(channels) == {wanted}
        if alike and all(t.shape[1] > prefix + 1 for t, prefix in zip(tensors, prefixes, strict=True)):
            return list(zip(prefixes, channels, strict=True))
    module = type(backbone).__module__.rpartition(".")[2]
    raise UserError(
        f"model.backbone: {name} gives {_described(features)}, neither a feature map nor a grid of patches, so a"
        f" rectangle has nothing to gate.\nChoose {NEAREST.get(module, ELSE)}."
    )


def _prefix(tokens: int, backbone: Any, alone: bool) -> int:
    """The number of class and register tokens: the rest beside the largest square of patches, since the image is one.

    What the backbone itself says, as far as it says it, comes first.
    """
    said = getattr(backbone, "num_prefix_tokens", None) if alone else None
    if said is not None and math.isqrt(tokens - said) ** 2 == tokens - said:
        return int(said)
    return int(tokens - math.isqrt(tokens) ** 2) if tokens > 1 else 1


def _reads(backbone: Any, tensors: list[Tensor], is_list: bool, entry: int, begin: int, end: int | None) -> bool:
    """Whether the backbone's head reads these tokens of a tensor: whether NaN in them reaches the logits."""
    marked = [torch.zeros_like(tensor) for tensor in tensors]
    marked[entry][:, begin:end] = torch.nan
    training = backbone.training
    with torch.no_grad():
        logits = backbone.eval().forward_head(marked if is_list else marked[0])
    backbone.train(training)
    return bool(logits.isnan().any())


def _described(features: Any) -> str:
    if isinstance(features, Tensor):
        what = "a tensor" if features.ndim == 4 else "tokens"
        return f"{what} of shape {tuple(features.shape[1:])}"
    shapes = [tuple(t.shape[1:]) if isinstance(t, Tensor) else type(t).__name__ for t in features]
    return f"a {type(features).__name__} of {', '.join(map(str, shapes))}"


def last_two_channels(backbone: Any, in_chans: int = 3, side: int | None = None) -> tuple[int, ...]:
    """The channels of the backbone's last two stages, earlier first; empty if it does not return its stages' maps."""
    if not hasattr(backbone, "forward_intermediates") or len(getattr(backbone, "feature_info", None) or []) < 2:
        return ()
    _, stages = dry_run(backbone, in_chans, side, lambda images: backbone.forward_intermediates(images, indices=2))
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


def no_stage_of_tokens(name: str) -> UserError:
    """The refusal of attention on a stage of a network of tokens."""
    return UserError(
        f"model.stage: {name} normalises each token before it uses it, so a gate on a stage's tokens changes nothing.\n"
        "Set model.stage: -1, or choose a convnet."
    )


def dry_run(backbone: Any, in_chans: int, side: int | None, run: Callable[[Tensor], Any]) -> Any:
    """What `run` returns for a black image of `side` pixels, by default the backbone's own size, in evaluation mode."""
    size = side or (getattr(backbone, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))[-1]
    training = backbone.training
    try:
        with torch.no_grad():
            backbone.eval()
            return run(torch.zeros(1, in_chans, size, size))
    finally:
        backbone.train(training)
