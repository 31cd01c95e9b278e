"""Batch norms merged into the convolutions before them, which saves inference a pass over each map."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from rsam_app.model.classifier import AttentiveClassifier

PLAIN = (nn.Conv2d, Conv2dSame)
"""Convolutions that apply their weights as they are stored; other subclasses standardise them first."""

NORMS = (nn.BatchNorm2d, BatchNormAct2d)

CLOSE = 1e-2
"""Largest difference of a map after merging, as a share of its largest value: rounding makes some 1e-4."""


def fold_batch_norms(model: AttentiveClassifier) -> AttentiveClassifier:
    """Return a copy of `model` for inference, with each batch norm merged into the convolution before it.

    In evaluation mode the two are one affine map (Jacob et al. 2018, arXiv 1712.05877, section 3.2), so the outputs
    differ by rounding only. What follows what is seen by running the network on noise, and maps and rectangle are
    compared afterwards; the model itself is returned if there is nothing to merge, or if they changed. A copy must not
    be trained or saved: its tensors are not those of its architecture.
    """
    model.eval()
    if not any(type(module) in NORMS for module in model.modules()):
        return model
    device = next(model.parameters()).device
    noise = torch.rand(1, *model.pretrained_cfg["input_size"], generator=torch.Generator().manual_seed(0)).to(device)
    folded = copy.deepcopy(model)
    names = {module: name for name, module in folded.named_modules()}
    pairs, before = _watch(folded, noise)
    before += _stages(folded, noise)
    for convolution, norm in pairs:
        folded.set_submodule(names[norm], _merge(convolution, norm))
    return folded if pairs and _close(before, _maps(folded, noise) + _stages(folded, noise)) else model


def _watch(model: AttentiveClassifier, images: Tensor) -> tuple[list[tuple[nn.Conv2d, nn.BatchNorm2d]], list[Tensor]]:
    """Convolutions with the batch norm that takes their output, and `_maps`."""
    made: dict[int, tuple[Any, Tensor]] = {}  # the tensors are kept, so that no other gets their address
    users: dict[Any, list[Any]] = {}

    def note_output(module: nn.Module, arguments: Any, output: Tensor) -> None:
        made[id(output)] = (module, output)

    def note_input(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        for argument in arguments:
            if id(argument) in made:
                users.setdefault(made[id(argument)][0], []).append(module)

    ends = [m for m in model.modules() if isinstance(m, NORMS) or not list(m.children())]
    hooks = [module.register_forward_pre_hook(note_input) for module in ends]
    hooks += [module.register_forward_hook(note_output) for module in model.modules() if type(module) in PLAIN]
    try:
        maps = _maps(model, images)
    finally:
        for hook in hooks:
            hook.remove()
    return [(made_by, used[0]) for made_by, used in users.items() if len(used) == 1 and _is_affine(used[0])], maps


def _is_affine(module: nn.Module) -> bool:
    """Whether it is a batch norm that uses stored statistics, rather than those of the batch."""
    return type(module) in NORMS and module.running_mean is not None


def _merge(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
    """Change the convolution's weights; returns what is left of the batch norm."""
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()


def _maps(model: AttentiveClassifier, images: Tensor) -> list[Tensor]:
    """The last map and, with attention, the gated one and the rectangle."""
    with torch.inference_mode():
        features, result = model.forward_attention(model.shrink(images))
    return [features.clone()] + ([] if result is None else [result.features.clone(), result.rectangle])


def _stages(model: AttentiveClassifier, images: Tensor) -> list[Tensor]:
    """The last two stages' maps, which a new predictor's rectangle does not depend on yet."""
    if not hasattr(model.backbone, "forward_intermediates"):
        return []
    with torch.inference_mode():
        stages = model.backbone.forward_intermediates(model.shrink(images), indices=2, intermediates_only=True)
    return [stage.clone() for stage in stages]


def _close(before: list[Tensor], after: list[Tensor]) -> bool:
    return all((a - b).abs().max() <= CLOSE * a.abs().max() for a, b in zip(before, after, strict=True))
