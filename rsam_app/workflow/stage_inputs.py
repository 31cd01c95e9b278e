"""What each stage of a run is made from, and that it was done: with the same inputs it is not done again."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from rsam_app.config import SelectConfig
from rsam_app.data import UNLABELLED
from rsam_app.run.job import Job
from rsam_app.system.files import fingerprint
from rsam_app.system.progress import is_main_process

SCORES = 3
"""Raised when predictions get other scores, so that a run's tables are made again."""


def train_inputs(job: Job) -> str:
    """What training is made from."""
    dataset, rectangles = job.corrected
    settings = job.pipeline.train.model_dump(mode="json", exclude={"workers", "trackers"})
    return fingerprint(job.pipeline.model, settings, job.pipeline.seed, dataset.fingerprint, sorted(rectangles.items()))


def predict_inputs(job: Job, split: str) -> str:
    """What the predictions of a split are made from."""
    return _predict_inputs(job, split, _weights(job))


def training_is_predicted(job: Job) -> bool:
    """Whether the training split's predictions are those of the run's model."""
    return _training_is_predicted(job, _weights(job))


def _predict_inputs(job: Job, split: str, weights: str) -> str:
    dataset, _ = job.corrected
    looks, views = job.pipeline.model.second_look, job.pipeline.evaluate.stability_views
    masks = ["soft masks"] if job.pipeline.review.soft_masks else []
    # By the training split's own inputs: whether it is predicted decides what other splits are compared with.
    compared = split != "train" and _training_is_predicted(job, weights)
    # The dataset's fingerprint passes over images without a label.
    blank = [[(r.id, r.width, r.height) for r in dataset.split(split)]] if split == UNLABELLED else []
    return fingerprint(SCORES, weights, dataset.fingerprint, split, looks, views, compared, *masks, *blank)


def _training_is_predicted(job: Job, weights: str) -> bool:
    predicted = (job.run.predictions / "train.parquet").exists()
    return predicted and is_done(job, "predict train", _predict_inputs(job, "train", weights))


def _weights(job: Job) -> str:
    return _file_hash(job.run.model / "model.safetensors")


def evaluate_inputs(job: Job, split: str) -> str:
    """What the evaluation of a split is made from."""
    settings = job.pipeline.evaluate
    asked = [settings.robustness_images, job.pipeline.seed] if settings.robustness else []
    groups = [(r.id, r.group) for r in job.corrected[0].split(split) if r.group]  # no model learns from them
    return fingerprint(predict_inputs(job, split), "evaluate", *asked, *groups)


def review_inputs(job: Job) -> str:
    """What the review dataset is written from."""
    tables = {p.name: _file_hash(p) for p in sorted(job.run.predictions.glob("*.parquet"))}
    return fingerprint(tables, job.original.fingerprint, job.pipeline.review)


def select_inputs(job: Job, settings: SelectConfig) -> str:
    """What a selection is made from."""
    return fingerprint(review_inputs(job), settings, job.pipeline.seed)


def is_done(job: Job, stage: str, inputs: str) -> bool:
    """Whether a stage was done from these inputs."""
    return job.run.stage_done(stage, inputs)


def finish(job: Job, stage: str, inputs: str, begun: float) -> None:
    """Record, in the main process, that a stage was done from these inputs; every process must call it."""
    if is_main_process():
        job.run.finish_stage(stage, inputs, time.perf_counter() - begun)
    job.accelerator.wait_for_everyone()


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
