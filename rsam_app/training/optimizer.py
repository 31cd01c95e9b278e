"""Parameter groups and the learning-rate schedule."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from timm.models import group_parameters
from torch import nn

from rsam_app.config import TrainConfig
from rsam_app.model import AttentiveClassifier
from rsam_app.model.attention import RSAM
from rsam_app.system.errors import UserError


def make_optimizer(model: AttentiveClassifier, config: TrainConfig, fitted: bool) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) or SGD over `parameter_groups`."""
    groups = parameter_groups(model, config, fitted)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups)


def parameter_groups(model: AttentiveClassifier, config: TrainConfig, fitted: bool) -> list[dict[str, Any]]:
    """Backbone, classifier and attention, each at its own rate; no decay for biases and norms.

    `fitted`: the classifier starts from a fit to pretrained features. A frozen backbone's parameters stop requiring
    gradients and are in no group. A group's `of_backbone` marks the backbone's.
    """
    module = model.attention_module
    attention = list(module.parameters()) if module is not None else []
    head = list(model.get_classifier().parameters())
    backbone = set(model.backbone.parameters()) - set(head) - set(attention)
    decays = {parameter: config.weight_decay if parameter.ndim > 1 else 0.0 for parameter in model.parameters()}
    rates = dict.fromkeys(model.parameters(), config.learning_rate)
    if config.layer_decay < 1:
        rates.update(_layer_rates(model, config))
    head_rate = config.head_learning_rate or (3 if fitted else 10) * config.learning_rate
    rates.update(dict.fromkeys(head, head_rate))
    rates.update(dict.fromkeys(attention, config.attention_learning_rate))
    if isinstance(module, RSAM):
        for parameter in module.predictor.parameters():
            decays[parameter] = config.attention_weight_decay if parameter.ndim > 1 else 0.0
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for parameter, rate in rates.items():
        if config.frozen_backbone and parameter in backbone:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups.setdefault((rate, decays[parameter], parameter in backbone), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay, "of_backbone": of_backbone}
        for (rate, decay, of_backbone), parameters in groups.items()
    ]


def warmup_cosine(
    optimizer: torch.optim.Optimizer, warmup: int, total: int, wait: int = 0
) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up over `warmup` updates, then a cosine to zero at `total`; stepped once per update. The backbone's
    own warm-up begins after `wait` updates."""

    def factor(step: int, wait: int) -> float:
        if step < wait:
            return 0.0
        step, length = step - wait, total - wait
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, length - warmup))))

    waits = [wait if group.get("of_backbone") else 0 for group in optimizer.param_groups]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, [partial(factor, wait=wait) for wait in waits])


def _layer_rates(model: AttentiveClassifier, config: TrainConfig) -> dict[nn.Parameter, float]:
    """Rates that fall by `layer_decay` from each of timm's layer groups to the one below (Bao et al. 2022, BEiT, arXiv
    2106.08254). Raises `UserError` if timm does not order the backbone's layers."""
    backbone = model.backbone
    if not hasattr(backbone, "group_matcher"):
        raise UserError("train.layer_decay: timm does not order this backbone's layers. Leave it at 1.")
    depth = group_parameters(backbone, backbone.group_matcher(coarse=False), reverse=True)
    named = dict(backbone.named_parameters())
    deepest = max(depth[name] for name in depth)
    return {
        named[name]: config.learning_rate * config.layer_decay ** (deepest - layer)
        for name, layer in depth.items()
        if name in named
    }


def set_training_mode(model: AttentiveClassifier, config: TrainConfig, pretrained: bool) -> None:
    """Call `model.train()`, but leave a frozen backbone, or batch norms by `freeze_batch_norm`, in evaluation mode.

    In training mode the batch-norm statistics of a frozen backbone would drift.
    """
    model.train()
    if config.frozen_backbone:
        model.backbone.eval()
        model.get_classifier().train()
        return
    freeze = pretrained if config.freeze_batch_norm == "auto" else config.freeze_batch_norm
    if freeze:
        for module in model.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
