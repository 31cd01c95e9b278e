"""Attention and classifier fitted on the pretrained features before anything else is trained.

Fine-tuning then starts from the best linear head instead of noise, and does not first tear the features apart (LP-FT,
Kumar et al. 2022, arXiv 2202.10054). A rectangle with a random start does the same harm.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsam_app.model.attention import RSAM
from rsam_app.training import losses

EPOCHS, BATCH, RATE = 15, 32, 3e-3


def fit_attention(
    attention: RSAM, evidence: Sequence[Tensor], targets: Tensor, weights: Tensor, seed: int, decay: float
) -> float:
    """Fit the predictor of `attention` in place to target rectangles `(N, 5)`, each with a weight `(N,)`.

    `evidence` are the maps `(N, C, H, W)` that it looks at; targets are in cells of the last. Half of them are
    mirrored. Returns the last epoch's mean loss.
    """
    draws = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(attention.predictor.parameters(), lr=RATE, weight_decay=decay)
    known = torch.nonzero(weights)[:, 0]
    updates = EPOCHS * max(1, len(known) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    width, total = evidence[-1].shape[3], 0.0
    for _ in range(EPOCHS):
        total = 0.0
        for chosen in known[torch.randperm(len(known), generator=draws)].split(BATCH):
            mirror = (torch.rand(len(chosen), generator=draws) < 0.5)[:, None]
            plain, wanted = [maps[chosen].float() for maps in evidence], targets[chosen]
            seen = [torch.where(mirror[:, :, None, None], maps.flip(3), maps) for maps in plain]
            mirrored = torch.cat([width - wanted[:, :1], wanted[:, 1:4], -wanted[:, 4:]], dim=1)
            distance = losses.to_target(attention.predictor(seen), torch.where(mirror, mirrored, wanted), width)
            loss = (distance * weights[chosen]).sum() / weights[chosen].sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if schedule.last_epoch < updates:
                schedule.step()
            total += loss.item() * len(chosen)
    return total / max(1, len(known))


def fit_classifier(classifier: nn.Linear, features: Tensor, labels: Tensor, decay: float = 1e-3) -> float:
    """Fit `classifier` in place by `logistic_regression` on features `(N, D)` and labels `(N,)`; returns the loss."""
    weight, bias, loss = logistic_regression(features, labels, classifier.out_features, decay)
    with torch.no_grad():
        classifier.weight.copy_(weight)
        if classifier.bias is not None:
            classifier.bias.copy_(bias)
    return loss


def logistic_regression(
    features: Tensor, labels: Tensor, classes: int, decay: float, counts: Tensor | None = None
) -> tuple[Tensor, Tensor, float]:
    """Weights `(C, D)`, biases `(C,)` and loss in nats of a multinomial logistic regression with smoothed labels, by
    L-BFGS, on features `(N, D)` and labels `(N,)`. `decay` multiplies the squared norm of the weights; `counts` `(N,)`,
    1 on average, is how much each row counts, alike where not given."""
    weight = torch.zeros(classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(classes, device=features.device, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        solver.zero_grad()
        each = F.cross_entropy(features @ weight.T + bias, labels, label_smoothing=0.1, reduction="none")
        loss = (each if counts is None else each * counts).mean() + decay * weight.square().sum()
        loss.backward()
        return loss

    solver.step(objective)
    return weight.detach(), bias.detach(), objective().item()
