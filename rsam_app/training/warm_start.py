"""A classifier fitted on the pretrained features before anything else is trained.

Fine-tuning then starts from the best linear head instead of noise, and does not first tear the features apart (LP-FT,
Kumar et al. 2022, arXiv 2202.10054).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def fit_classifier(classifier: nn.Linear, features: Tensor, labels: Tensor, decay: float = 1e-3) -> float:
    """Fit `classifier` in place by multinomial logistic regression (L-BFGS) on features `(N, D)` and labels `(N,)`.

    `decay` multiplies the squared norm of the weights. Returns the final loss in nats.
    """
    weight = torch.zeros_like(classifier.weight, dtype=torch.float32, requires_grad=True)
    bias = torch.zeros(classifier.out_features, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(features @ weight.T + bias, labels, label_smoothing=0.1) + decay * weight.square().sum()
        loss.backward()
        return loss

    solver.step(objective)
    loss = objective().item()
    with torch.no_grad():
        classifier.weight.copy_(weight)
        if classifier.bias is not None:
            classifier.bias.copy_(bias)
    return loss
