"""The disk space and the time that a training takes, estimated."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from rsam_app.config import Pipeline
from rsam_app.system.hardware import available_cores

if TYPE_CHECKING:
    from rsam_app.data import Dataset
    from rsam_app.model import AttentiveClassifier

CHECKPOINTS = 3
"""Checkpoints at once: the last, the best, and the one that is being written."""
ROW_BYTES = 1000
"""Of an image in predictions, near-duplicates and evaluation, besides its logits and embedding."""
DISCOVERY_SECONDS = 0.15
"""Seconds of one core to cut out the object in an image, over all rounds of the discovery."""
PROBE_IMAGES, PROBES = 8, 3
"""Images in a probe batch, and the batches that are timed; the fastest counts."""
STARTING_SECONDS = 20.0
"""To start, report, and write into FiftyOne, for a small dataset."""
SECONDS_PER_IMAGE = 0.01
"""Of one core to decode an image, and to write it into tables and FiftyOne."""


def disk_bytes(pipeline: Pipeline, dataset: Dataset, model: AttentiveClassifier) -> int:
    """Bytes that the run folder will hold, estimated from the model's tensors and the number of images."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    learned = [p for p in model.parameters() if not pipeline.train.frozen_backbone or not _in_backbone(p, model)]
    moments = (2 if pipeline.train.optimizer == "adamw" else 1) * sum(p.numel() * 4 for p in learned)
    checkpoint = weights * (2 if pipeline.train.ema else 1) + moments
    row = ROW_BYTES + 4 * len(dataset.classes) + 2 * int(model.head_hidden_size)
    return int(CHECKPOINTS * checkpoint + weights + row * len(dataset.records))


def minutes(
    pipeline: Pipeline, dataset: Dataset, model: AttentiveClassifier, device: torch.device, may_look_twice: bool
) -> float:
    """Minutes of `rsam run` on one process, from the measured time of a few batches of noise on `device`; with
    `may_look_twice` as if the model, which has one look, were to get a second."""
    forward, update = _seconds_per_image(pipeline, model, device)
    training, validation, images = len(dataset.split("train")), len(dataset.split("val")), len(dataset.records)
    config, views_scored = pipeline.train, pipeline.evaluate.stability_views
    looks = 2 if may_look_twice else 1
    from rsam_app.training.discovery.targets import discovery_epoch
    from rsam_app.training.features.frozen import views_to_cache

    seconds = STARTING_SECONDS + images * (SECONDS_PER_IMAGE / available_cores() + (looks + views_scored) * forward)
    if discovery_epoch(pipeline) is not None:
        seconds += training * (4 * forward + DISCOVERY_SECONDS / available_cores())  # at twice the side
    if views := views_to_cache(pipeline):
        seconds += (training * (1 + views) + validation) * looks * forward
        seconds += config.epochs * (training + validation) * 0.1 * forward
    else:
        seconds += config.epochs * (training * update + validation * forward) * looks
    return seconds / 60


def _seconds_per_image(pipeline: Pipeline, model: AttentiveClassifier, device: torch.device) -> tuple[float, float]:
    """Seconds per image of a forward pass, and of a forward and backward pass."""
    side = pipeline.model.input_side
    trained = model.to(device).train()
    noise = torch.randn(PROBE_IMAGES, model.in_chans, side, side, device=device)
    forward, update = [], []
    for _ in range(PROBES):
        begun = time.perf_counter()
        with torch.no_grad():
            trained(noise)
            _wait_for(device)
        between = time.perf_counter()
        trained(noise).sum().backward()
        _wait_for(device)
        forward.append(between - begun)
        update.append(time.perf_counter() - between)
    trained.zero_grad()
    return min(forward) / PROBE_IMAGES, min(update) / PROBE_IMAGES


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _in_backbone(parameter: torch.nn.Parameter, model: AttentiveClassifier) -> bool:
    return any(parameter is one for one in model.backbone.parameters())
