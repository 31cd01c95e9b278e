"""Fingerprints of the inputs of each stage: if one changes, the stage runs again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rsam_app.config import SelectConfig
from rsam_app.data import SPLITS, UNLABELLED
from rsam_app.run.job import Job
from rsam_app.system.files import fingerprint, sha256_of
from rsam_app.system.versions import CALIBRATION, METRICS, SCORES


def train_inputs(job: Job) -> str:
    """Fingerprint of the inputs of training."""
    dataset = job.corrected.dataset
    settings = job.pipeline.train.model_dump(mode="json", exclude={"workers", "trackers"})
    return fingerprint(job.pipeline.model, settings, job.pipeline.seed, dataset.fingerprint, *job.taught_rectangles)


def predict_inputs(job: Job, split: str) -> str:
    """Fingerprint of the inputs of a split's predictions."""
    return _predict_inputs(job, split, _weights(job))


def training_is_predicted(job: Job) -> bool:
    """Whether the training split's predictions come from the run's present model."""
    return _training_is_predicted(job, _weights(job))


def _predict_inputs(job: Job, split: str, weights: str) -> str:
    dataset = job.measured.dataset
    second_look, views = job.pipeline.model.second_look, job.pipeline.evaluate.stability_views
    masks = ["soft masks"] if job.pipeline.review.soft_masks else []
    # Rectangles of other splits are compared with those of the training split, if that is predicted.
    compared = split != "train" and _training_is_predicted(job, weights)
    # The dataset's fingerprint does not cover images without labels.
    blank = [[(r.id, r.width, r.height) for r in dataset.split(split)]] if split == UNLABELLED else []
    return fingerprint(SCORES, weights, dataset.fingerprint, split, second_look, views, compared, *masks, *blank)


def _training_is_predicted(job: Job, weights: str) -> bool:
    exists = (job.run.predictions / "train.parquet").exists()
    return exists and job.run.stage_done("predict train", _predict_inputs(job, "train", weights))


def _weights(job: Job) -> str:
    return _hash_of(job.run.model / "model.safetensors")


def evaluate_inputs(job: Job, split: str) -> str:
    """Fingerprint of the inputs of a split's evaluation."""
    settings = job.pipeline.evaluate
    robustness = [settings.robustness_images, job.pipeline.seed] if settings.robustness else []
    groups = [(r.id, r.group) for r in job.measured.dataset.split(split) if r.group]  # not in the dataset's fingerprint
    return fingerprint(predict_inputs(job, split), "evaluate", METRICS, *robustness, *groups, *_taxonomy(job))


def _taxonomy(job: Job) -> list[Any]:
    """The content of the taxonomy, which the dataset's fingerprint does not cover, and what answers are to keep."""
    taxonomy = job.measured.dataset.taxonomy
    return [] if taxonomy is None else [taxonomy.above_classes(), job.pipeline.evaluate.sure_accuracy]


def predicted_splits(job: Job) -> list[str]:
    """The splits with images whose predictions come from the run's present model, labels and images."""
    present = [split for split in (*SPLITS, UNLABELLED) if job.measured.dataset.split(split)]
    return [split for split in present if job.run.stage_done(f"predict {split}", predict_inputs(job, split))]


def calibrate_inputs(job: Job) -> str:
    """Fingerprint of the inputs of the calibration: the predictions, and the taxonomy if there is one."""
    predictions = {split: predict_inputs(job, split) for split in predicted_splits(job)}
    return fingerprint(CALIBRATION, predictions, *_taxonomy(job))


def review_inputs(job: Job) -> str:
    """Fingerprint of the inputs of the review dataset."""
    tables = {p.name: _hash_of(p) for p in sorted(job.run.predictions.glob("*.parquet"))}
    return fingerprint(tables, job.original.fingerprint, job.pipeline.review)


def select_inputs(job: Job, settings: SelectConfig) -> str:
    """Fingerprint of the inputs of a selection."""
    return fingerprint(review_inputs(job), settings, job.pipeline.seed)


def _hash_of(path: Path) -> str:
    return sha256_of(path) if path.exists() else ""
