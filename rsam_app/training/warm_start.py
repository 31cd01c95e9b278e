"""Warm start: attention and classifier fitted to the pretrained features before anything else is trained.

Fine-tuning from the best linear head instead of noise does not first distort the features (LP-FT, Kumar et al. 2022,
arXiv 2202.10054). A randomly initialised rectangle would distort them as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsam_app.data.loader import Target
from rsam_app.geometry import rectangles as geometry
from rsam_app.model import AttentiveClassifier
from rsam_app.model.attention import RSAM
from rsam_app.run.job import Job
from rsam_app.training import losses
from rsam_app.training.discovery.discover import MAX_LEARNED_IMAGES
from rsam_app.training.features.frozen import FrozenFeatures
from rsam_app.training.features.source import FeatureSource

EPOCHS, BATCH, RATE = 15, 32, 3e-3

DECAY = 0.05
"""Weight decay of the first classifier, on features whose standard deviation is 1. Chosen on validation images: on
birds and pets with MobileNetV2, EfficientNet-Lite0 and -Lite2 at 160 pixels, mean top-1 is 77.2 % (.001: 73.8; .01:
75.9; .02: 76.9; .1: 76.3). On test images it is 80.0 %, against 77.7 with .001 on features as they are
(`benchmarks/first_classifier.py`)."""


def start_attention(
    job: Job, model: AttentiveClassifier, source: FeatureSource | FrozenFeatures, targets: dict[str, Target]
) -> None:
    """Fit RSAM's rectangle to the targets, on the current features of at most `MAX_LEARNED_IMAGES` training images,
    those with the largest weights first. The result is the same on every process."""
    attention, pipeline = model.attention_module, job.pipeline
    records = [record for record in job.corrected.dataset.split("train") if record.id in targets]
    records = sorted(records, key=lambda record: -targets[record.id][1])[:MAX_LEARNED_IMAGES]
    if not isinstance(attention, RSAM) or not records:
        return
    evidence = source.evidence(records, pipeline.model.image_size * model.detail)
    height, width = evidence[-1].shape[2:]
    rectangles = torch.tensor([targets[r.id][0] for r in records])
    to_map = torch.cat([geometry.scaling(width / r.width, height / r.height, rectangles) for r in records])
    weights = torch.tensor([targets[r.id][1] for r in records])
    attention.to("cpu")
    on_map = geometry.transform(rectangles, to_map)
    loss = fit_attention(attention, evidence, on_map, weights, pipeline.seed, pipeline.train.attention_weight_decay)
    attention.to(source.device)
    job.reporter.say(f"rectangle fitted to {len(records)} targets on the current features: loss {loss:.3f}")


def start_classifier(job: Job, model: AttentiveClassifier, embeddings: np.ndarray) -> None:
    """Fit the last layer, if it is linear, to the pretrained embeddings `(N, D)` of the training images."""
    classifier, dataset = model.get_classifier(), job.corrected.dataset
    if not isinstance(classifier, nn.Linear) or classifier.in_features != embeddings.shape[1]:
        job.reporter.say("the classifier is not one linear layer: it starts from its own initialisation")
        return
    labels = torch.tensor([dataset.class_index[record.label] for record in dataset.split("train")])
    loss = fit_classifier(classifier.cpu(), torch.from_numpy(embeddings), labels)
    job.reporter.say(f"classifier fitted to the pretrained features: training loss {loss:.3f}")


def fit_attention(
    attention: RSAM, evidence: Sequence[Tensor], targets: Tensor, weights: Tensor, seed: int, decay: float
) -> float:
    """Fit the predictor of `attention` in place to target rectangles `(N, 5)`, each with a weight `(N,)`.

    `evidence` are the maps `(N, C, H, W)` that it predicts from; targets are in cells of the last. Each draw mirrors
    half of them. Returns the last epoch's mean loss.
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
            plain, target = [maps[chosen].float() for maps in evidence], targets[chosen]
            inputs = [torch.where(mirror[:, :, None, None], maps.flip(3), maps) for maps in plain]
            mirrored = torch.cat([width - target[:, :1], target[:, 1:4], -target[:, 4:]], dim=1)
            distance = losses.to_target(attention.predictor(inputs), torch.where(mirror, mirrored, target), width)
            loss = (distance * weights[chosen]).sum() / weights[chosen].sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if schedule.last_epoch < updates:
                schedule.step()
            total += loss.item() * len(chosen)
    return total / max(1, len(known))


def fit_classifier(classifier: nn.Linear, features: Tensor, labels: Tensor, decay: float = DECAY) -> float:
    """Fit `classifier` in place by `logistic_regression` on features `(N, D)` and labels `(N,)`; returns the loss.

    For the fit the features are centred, unless the classifier has no bias, and scaled to a standard deviation of 1,
    all by one factor, so that `decay` means the same for every network.
    """
    centre = features.mean(dim=0) if classifier.bias is not None else features.new_zeros(features.shape[1])
    scale = (features - centre).square().mean().sqrt().clamp_min(1e-12)
    weight, bias, loss = logistic_regression((features - centre) / scale, labels, classifier.out_features, decay)
    with torch.no_grad():
        classifier.weight.copy_(weight / scale)
        if classifier.bias is not None:
            classifier.bias.copy_(bias - classifier.weight @ centre)
    return loss


def logistic_regression(
    features: Tensor, labels: Tensor, classes: int, decay: float, counts: Tensor | None = None
) -> tuple[Tensor, Tensor, float]:
    """Weights `(C, D)`, biases `(C,)` and loss in nats of a multinomial logistic regression with smoothed labels, by
    L-BFGS, on features `(N, D)` and labels `(N,)`. `decay` multiplies the squared norm of the weights; `counts` `(N,)`
    are the rows' weights, 1 on average, and equal by default."""
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
