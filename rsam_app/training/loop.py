"""The training loop: set up or resume, then train, validate, save and report epoch by epoch."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from rsam_app.config import Pipeline, TrainConfig
from rsam_app.data.images.cache import caching_images
from rsam_app.data.loader import Batch
from rsam_app.evaluation.metrics.accuracy import validation_figures
from rsam_app.model import AttentiveClassifier, save_model
from rsam_app.run.job import Job
from rsam_app.run.metrics_log import cut_log
from rsam_app.system.distributed.agreement import of_main, parameters_of_main
from rsam_app.system.errors import UserError
from rsam_app.training.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from rsam_app.training.discovery.targets import discovered_targets, join_targets
from rsam_app.training.features.crops import embed_crops
from rsam_app.training.features.frozen import FeatureBatch, views_to_cache
from rsam_app.training.fit_second_look import fit_second_look
from rsam_app.training.interrupt import Interrupted, StopRequest
from rsam_app.training.mixing import Mixture, mix
from rsam_app.training.optimizer import set_training_mode
from rsam_app.training.refit import refit_rectangle
from rsam_app.training.setup import TrainState, begin, feature_source, model_outputs, set_up
from rsam_app.training.timing import as_shares
from rsam_app.training.trackers import Trackers, trackers_of
from rsam_app.training.warm_start import start_attention

WAITING = "waiting for data"
Advance = Callable[[int], object]


def train(job: Job, inputs: str, resume: bool, advance: Advance = lambda images: None) -> None:
    """Train the job's pipeline on its corrected dataset, into its run; `advance` receives numbers of trained images.

    `inputs` is a fingerprint of pipeline, dataset and corrections; a checkpoint of other inputs is refused. Raises
    `UserError`, and `Interrupted`, after writing a checkpoint, if the run was asked to stop.
    """
    last = find_checkpoint(job.run.checkpoints / "last") if resume else None
    pipeline, fitted = begin(job, fresh=last is None)
    with _image_cache(job, pipeline):
        _train(job, set_up(job, inputs, last is None, pipeline, fitted), last, advance)


def _image_cache(job: Job, pipeline: Pipeline) -> AbstractContextManager[None]:
    """The cache of decoded images while training reads them again and again; none if feature maps are cached."""
    if views_to_cache(pipeline):
        return nullcontext()
    dataset = job.corrected.dataset
    return caching_images([*dataset.split("train"), *dataset.split("val")], pipeline.model.input_side, job.reporter.say)


def _train(job: Job, state: TrainState, last: Path | None, advance: Advance) -> None:
    """Train from the start, or from the checkpoint `last`, to the end."""
    if last is not None:
        resume_from(last, job, state)
    updates = state.schedule.last_epoch
    opened = trackers_of(job.pipeline, job.run, job.accelerator, state.progress, updates, fresh=last is None)
    with opened as trackers, StopRequest() as stop:
        while state.progress.epoch < job.pipeline.train.epochs and not out_of_patience(job, state):
            train_epoch(job, state, trackers, stop, advance)
            metrics = epoch_metrics(job, state)
            trackers.epoch(metrics, state.schedule.last_epoch)
            best = best_weights(job.pipeline.train, state, metrics)
            state.progress.begin_next_epoch()
            save_epoch(job, state, metrics, best)
            report_epoch(job, state, metrics, improved=best is not None)
    refit_rectangle(job)
    fit_second_look(job)
    if job.accelerator.is_main_process and state.dynamics.enabled:
        np.save(job.run.learned_probabilities, state.dynamics.mean().astype(np.float16))


def resume_from(checkpoint: Path, job: Job, state: TrainState) -> None:
    """Load a checkpoint into `state` and cut the log at its epoch. Raises `UserError` if it is unreadable or its inputs
    differ."""
    progress, inputs = state.progress, state.progress.inputs
    load_checkpoint(job.accelerator, checkpoint)
    if progress.inputs != inputs:
        raise UserError(
            f"{job.run.path}: the checkpoint was made with other settings, data or corrections.\n"
            "Restore them to continue, or start over with `rsam train --restart`."
        )
    position = (progress.epoch, progress.batch)
    if of_main(job.accelerator, position) != position:
        raise UserError(f"{job.run.path}: machines see different checkpoints. Wait a minute and `--resume` again.")
    job.reporter.say(f"resuming in epoch {progress.epoch + 1}, batch {progress.batch + 1}")
    if job.accelerator.is_main_process and (broken := cut_log(job.run.metrics_log, progress.epoch)):
        lines, was = ("1 line", "was") if broken == 1 else (f"{broken} lines", "were")
        job.reporter.say(f"{job.run.metrics_log}: {lines} could not be read and {was} removed")


# ---- one epoch


def train_epoch(job: Job, state: TrainState, trackers: Trackers, stop: StopRequest, advance: Advance) -> None:
    """Train on the rest of the epoch. Raises `Interrupted`, after writing a checkpoint, at a stop request."""
    progress, accelerator = state.progress, job.accelerator
    if state.discovery_epoch and progress.epoch >= state.discovery_epoch:
        discover_targets(job, state)
    state.batches.set_position(progress.epoch, progress.batch)
    set_training_mode(state.bare, job.pipeline.train, pretrained=job.pipeline.model.weights != "none")
    sizes = state.batches.sizes
    for batch in state.times.drawing(state.loader, WAITING):
        with state.times.on("computing"):
            update(job, state, batch, sizes[progress.batch])
            advance(len(batch["label"]) * accelerator.num_processes)
        trackers.update(state.schedule)
        progress.batch += 1
        if stop.agreed(accelerator):
            state.dynamics.merge(accelerator)
            save_checkpoint(accelerator, job.run.checkpoints / "last")
            raise Interrupted


def discover_targets(job: Job, state: TrainState) -> None:
    """Discover objects with the current features, fit the rectangle to them, and make them the targets."""
    source = feature_source(job, state.bare)
    targets = join_targets(discovered_targets(job, source), job.corrected.targets)
    if (state.progress.epoch, state.progress.batch) == (state.discovery_epoch, 0):  # else done before the run stopped
        start_attention(job, state.bare, state.frozen or source, targets)
        parameters_of_main(job.accelerator, state.bare)
    if state.crops:
        state.crops = embed_crops(source, state.objective.pipeline, state.crops.frozen, targets)
    state.load_targets(targets)
    state.discovery_epoch = None


def update(job: Job, state: TrainState, batch: Batch | FeatureBatch, batch_size: int) -> None:
    """Update the weights once. `batch_size` counts all processes: each adds its share of one mean over the batch."""
    config, accelerator, count = job.pipeline.train, job.accelerator, len(batch["label"])
    parts = np.array_split(np.arange(count), min(config.accumulate, count))
    for number, rows in enumerate(parts):
        last = number == len(parts) - 1
        with nullcontext() if last else accelerator.no_sync(state.model):
            add_gradients(job, state, _rows_of(batch, rows) if len(parts) > 1 else batch, number, batch_size)
    if config.clip_norm is not None:
        accelerator.clip_grad_norm_(state.model.parameters(), config.clip_norm)
    state.optimizer.step()
    state.schedule.step()
    state.optimizer.zero_grad()
    if state.average is not None:
        state.average.update(state.bare, step=state.schedule.last_epoch)


def add_gradients(job: Job, state: TrainState, batch: Batch | FeatureBatch, part: int, batch_size: int) -> None:
    """Add the gradients of one part of a batch, and its loss to the epoch's sums. Raises `UserError` if the loss is
    not finite."""
    progress, accelerator = state.progress, job.accelerator
    labels, inputs = batch["label"].to(state.device), state.inputs(batch)
    mixture = _mixture(job, state, inputs, part)
    losses = state.objective.batch_losses(batch, inputs, labels, mixture)
    # DDP averages gradients over the processes; their shares of the batch need not be equal.
    accelerator.backward(losses.loss * (accelerator.num_processes / batch_size))
    loss, classification, to_target = torch.stack([losses.loss, losses.classification, losses.to_target]).tolist()
    if not math.isfinite(loss):
        raise UserError(
            f"{job.run.path}: the loss is {loss} in epoch {progress.epoch + 1}, batch {progress.batch + 1}.\n"
            "Lower train.learning_rate, or set train.precision=float32, and --restart."
        )
    progress.loss_sum += classification
    progress.target_loss_sum += to_target
    progress.seen += len(labels)
    if not mixture:
        state.dynamics.add(batch["index"], losses.logits)


def _mixture(job: Job, state: TrainState, inputs: Tensor | list[Tensor], part: int) -> Mixture | None:
    config, progress = job.pipeline.train, state.progress
    if not isinstance(inputs, Tensor) or progress.epoch >= config.epochs - config.mix.off_epochs:
        return None
    seed = (job.pipeline.seed, progress.epoch, progress.batch, part, job.accelerator.process_index)
    return mix(inputs, config.mix, seed)


def _rows_of(batch: Batch | FeatureBatch, rows: np.ndarray) -> Batch | FeatureBatch:
    taken = slice(int(rows[0]), int(rows[-1]) + 1)
    fields = cast(dict[str, Any], batch)
    return cast(Batch, {k: [one[taken] for one in v] if isinstance(v, list) else v[taken] for k, v in fields.items()})


# ---- after an epoch


def epoch_metrics(job: Job, state: TrainState) -> dict[str, Any]:
    """The epoch's losses over all processes, its validation, and its seconds: a line of `metrics.jsonl`."""
    progress, accelerator = state.progress, job.accelerator
    state.dynamics.merge(accelerator)
    exact = torch.float32 if accelerator.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    sums = torch.tensor(
        [progress.loss_sum, progress.target_loss_sum, progress.seen], dtype=exact, device=accelerator.device
    )
    loss_sum, target_loss_sum, seen = accelerator.reduce(sums, reduction="sum").tolist()
    with state.times.on("validating"):
        validation = validate(job, state)
    computing, waiting, validating = (
        state.times.seconds.get(what, 0.0) for what in ("computing", WAITING, "validating")
    )
    return {
        "epoch": progress.epoch + 1,
        "train_loss": loss_sum / seen,
        "target_loss": target_loss_sum / seen,
        "learning_rate": state.schedule.get_last_lr()[0],
        **validation,
        "seconds": round(computing + waiting, 2),
        "data_wait": round(waiting / max(computing + waiting, 1e-9), 4),
        "validation_seconds": round(validating, 2),
    }


def validate(job: Job, state: TrainState) -> dict[str, float]:
    """Top-1, macro top-1 and NLL on `val`, also of the averaged weights; empty without a val split (if every class has
    a single image)."""
    dataset = job.corrected.dataset
    if not dataset.split("val"):
        return {}
    models = {"val": state.bare}
    if state.average is not None:
        models["ema_val"] = cast(AttentiveClassifier, state.average.module)
    labels = np.array([dataset.class_index[record.label] for record in dataset.split("val")])
    figures: dict[str, float] = {}
    for prefix, model in models.items():
        stored = state.crops or state.frozen
        logits = stored.validation_logits(model) if stored else model_outputs(job, model, "val").logits
        figures |= validation_figures(logits, labels, prefix)
    return figures


def best_weights(config: TrainConfig, state: TrainState, metrics: dict[str, Any]) -> nn.Module | None:
    """The weights to save if the epoch is the best so far, those of the model or of its average; else None.

    On a small val split many epochs tie, and the schedule has settled further in a later one, so ties go to it.
    Without a val split every epoch ties.
    """
    name, progress = f"val_{config.best_by}", state.progress
    score, best = metrics.get(name, 0.0), cast(nn.Module, state.bare)
    is_better = operator.le if config.best_by == "nll" else operator.ge
    if state.average is not None and is_better(metrics.get(f"ema_{name}", 0.0), score):
        score, best = metrics.get(f"ema_{name}", 0.0), state.average.module
    if progress.best and not is_better(score, progress.best[name]):
        return None
    progress.best = {"epoch": progress.epoch + 1, name: score}
    return best


def save_epoch(job: Job, state: TrainState, metrics: dict[str, Any], best: nn.Module | None) -> None:
    """Save the model and its checkpoint if it is the best, append the log line, then replace the last checkpoint."""
    accelerator = job.accelerator
    with state.times.on("saving"):
        if best is not None:
            save_checkpoint(accelerator, job.run.checkpoints / "best")
            if accelerator.is_main_process:
                save_model(cast(AttentiveClassifier, best), job.run.model)
        if accelerator.is_main_process:
            with job.run.metrics_log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(metrics) + "\n")
        save_checkpoint(accelerator, job.run.checkpoints / "last")


def report_epoch(job: Job, state: TrainState, metrics: dict[str, Any], improved: bool) -> None:
    """Print the epoch's loss, accuracy and use of time."""
    accuracy = f"  val top-1 {metrics['val_top1']:.3f}" if "val_top1" in metrics else ""
    if "ema_val_top1" in metrics:
        accuracy += f" ({metrics['ema_val_top1']:.3f} averaged)"
    seconds = {what: state.times.take(what) for what in ("computing", WAITING, "validating", "saving")}
    job.reporter.say(
        f"epoch {metrics['epoch']}/{job.pipeline.train.epochs}  loss {metrics['train_loss']:.3f}{accuracy}"
        f"  {as_shares(seconds)}" + ("  (best)" if improved else "")
    )


def out_of_patience(job: Job, state: TrainState) -> bool:
    """Whether the last `patience` epochs were no better, and report it: the same on every process."""
    patience, best = job.pipeline.train.patience, int(state.progress.best.get("epoch", 0))
    if patience is None or state.progress.epoch - best < patience:
        return False
    job.reporter.say(f"stopped: no epoch after {best} was better (train.patience={patience})")
    return True
