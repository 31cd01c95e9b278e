"""Parameter groups and the learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from rsam_app.attention import RSAM
from rsam_app.config import TrainConfig
from rsam_app.model import AttentiveClassifier


def parameter_groups(model: AttentiveClassifier, config: TrainConfig, fitted: bool) -> list[dict[str, object]]:
    """Backbone, classifier and attention, each at its own rate; no decay for biases and norms.

    `fitted` says that the classifier starts from a fit to pretrained features. A frozen backbone's parameters stop
    requiring gradients and are in no group.
    """
    rates = dict.fromkeys(model.parameters(), config.learning_rate)
    decays = {parameter: config.weight_decay if parameter.ndim > 1 else 0.0 for parameter in rates}
    head_rate = config.head_learning_rate or (3 if fitted else 10) * config.learning_rate
    rates.update(dict.fromkeys(model.get_classifier().parameters(), head_rate))
    attention = list(model.attention.parameters()) if model.attention is not None else []
    rates.update(dict.fromkeys(attention, config.attention_learning_rate))
    if isinstance(model.attention, RSAM):
        for parameter in model.attention.predictor.parameters():
            decays[parameter] = config.attention_weight_decay if parameter.ndim > 1 else 0.0
    backbone = set(model.backbone.parameters()) - set(model.get_classifier().parameters()) - set(attention)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter, rate in rates.items():
        if config.frozen_backbone and parameter in backbone:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups.setdefault((rate, decays[parameter]), []).append(parameter)
    return [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()]


def warmup_cosine(optimizer: torch.optim.Optimizer, warmup: int, total: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up over `warmup` updates, then a cosine to zero at `total`; stepped once per update."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def set_training_mode(model: AttentiveClassifier, config: TrainConfig, pretrained: bool) -> None:
    """`model.train()`, with a frozen backbone in evaluation mode and batch-norm statistics kept where asked.

    A frozen backbone left in training mode would let its batch-norm statistics drift.
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
