"""Refits the rectangle predictor to the features that fine-tuning ended with."""

from __future__ import annotations

import numpy as np

from rsam_app.evaluation.metrics.paired import mcnemar
from rsam_app.model import AttentiveClassifier, load_model, save_model
from rsam_app.model.attention import RSAM
from rsam_app.run.job import Job
from rsam_app.training.discovery.targets import discovered_targets, discovery_epoch, join_targets
from rsam_app.training.setup import feature_source, model_outputs
from rsam_app.training.warm_start import start_attention

LEVEL = 0.05
"""Of the test that fewer validation images are right with the new rectangle."""


def refit_rectangle(job: Job) -> None:
    """Refit the rectangle predictor of the run's fine-tuned model to its final features. Every process must call it.

    While a backbone learns, the predictor follows features that change. Refitted, its rectangles are at least as good
    as with frozen features (`benchmarks/results/finetuning.md`). If significantly fewer validation images are then
    classified correctly, by McNemar's test, the model keeps the predictor it was trained with. A killed run can repeat
    it: the result does not depend on how often it is called.

    It does nothing if the backbone is frozen, or if no objects were discovered before training: those discovered after
    a third of the epochs are worse than the final predictor's (the demo's beetles: IoU .37 refitted, .52 as trained).
    """
    if job.pipeline.train.frozen_backbone or discovery_epoch(job.pipeline) != 0:
        return
    job.accelerator.wait_for_everyone()  # the main process has saved the model
    model = load_model(job.run.model).to(job.accelerator.device)
    attention, source = model.attention_module, feature_source(job, model)
    targets = join_targets(discovered_targets(job, source), job.corrected.targets)
    if not isinstance(attention, RSAM) or not targets:
        return
    before = _right(job, model)
    attention.forget(job.pipeline.seed)
    start_attention(job, model, source, targets)
    after = _right(job, model)
    fixed, broken = int((after & ~before).sum()), int((before & ~after).sum())
    if broken > fixed and mcnemar(fixed, broken) < LEVEL:
        job.reporter.say(f"the rectangle stays as trained: {broken} validation images became wrong, {fixed} right")
    elif job.accelerator.is_main_process:
        save_model(model, job.run.model)
    job.accelerator.wait_for_everyone()


def _right(job: Job, model: AttentiveClassifier) -> np.ndarray:
    """Whether each validation image `(N,)` is classified rightly; empty without a val split."""
    dataset = job.corrected.dataset
    if not dataset.split("val"):
        return np.zeros(0, dtype=bool)
    labels = np.array([dataset.class_index[record.label] for record in dataset.split("val")])
    right: np.ndarray = model_outputs(job, model, "val").logits.argmax(axis=1) == labels
    return right
