"""The training loop, read from top to bottom: prepare, resume, epochs of steps, validate, keep the best."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from rsam_app.config import Pipeline
from rsam_app.data.loader import Batch, loading_processes
from rsam_app.data.records import Dataset
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.inference.run_model import run_model
from rsam_app.evaluation.metrics.accuracy import validation_figures
from rsam_app.geometry.types import Rectangle
from rsam_app.model import AttentiveClassifier, build_model, save_model
from rsam_app.run.folder import RunFolder
from rsam_app.system.distributed.agreement import of_main, parameters_of_main
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically
from rsam_app.system.precision import choose_precision
from rsam_app.training.checkpoint import Progress, find_checkpoint, save_checkpoint
from rsam_app.training.features.frozen import FeatureBatch
from rsam_app.training.features.source import FeatureSource
from rsam_app.training.held_out_probabilities import write_held_out_probabilities
from rsam_app.training.interrupt import Interrupted, StopRequest
from rsam_app.training.mixing import mix
from rsam_app.training.objective import Objective
from rsam_app.training.optimizer import set_training_mode
from rsam_app.training.setup import (
    Say,
    Workbench,
    build_workbench,
    discovered_targets,
    frozen_features,
    join_targets,
    start_attention,
    start_classifier,
)
from rsam_app.training.timing import TimeSpent, as_shares
from rsam_app.training.trackers import trackers_of
from rsam_app.training.training_dynamics import TrainingDynamics

Rectangles = dict[str, Rectangle]
WAITING = "waiting for data"


def train(
    pipeline: Pipeline,
    run: RunFolder,
    dataset: Dataset,
    corrected: Rectangles,
    inputs: str,
    accelerator: Accelerator,
    resume: bool,
    say: Say,
    advance: Callable[[int], object] = lambda images: None,
) -> None:
    """Train `pipeline` on `dataset` (corrections applied; `corrected` rectangles by record id) into `run`.

    `inputs` is a fingerprint of all that; a checkpoint of other inputs is refused. Raises `UserError`, and
    `Interrupted`, a checkpoint written, when the run was asked to stop.
    """
    _Training(pipeline, run, dataset, corrected, inputs, accelerator, say, advance).run_to_end(resume)


def epoch_of_discovery(pipeline: Pipeline) -> int | None:
    """The epoch before which objects are looked for: the first (0) with pretrained weights; from scratch when a third
    is over, for features must first mean something. None where that is not wanted, or nothing learns from it."""
    config = pipeline.train
    if config.discover_objects is False or pipeline.model.attention != "rsam" or config.target_weight == 0:
        return None
    return 0 if pipeline.model.weights != "none" else max(1, config.epochs // 3)


class _Training:
    """State of one training run between its steps."""

    def __init__(
        self,
        pipeline: Pipeline,
        run: RunFolder,
        dataset: Dataset,
        corrected: Rectangles,
        inputs: str,
        accelerator: Accelerator,
        say: Say,
        advance: Callable[[int], object],
    ) -> None:
        self.pipeline, self.run, self.dataset, self.corrected = pipeline, run, dataset, corrected
        self.config, self.accelerator, self.say, self.advance = pipeline.train, accelerator, say, advance
        self.precision = choose_precision(pipeline.train.precision, accelerator.device)
        self.pretrained = pipeline.model.weights != "none"
        self.progress = Progress(inputs=inputs)
        self.dynamics = TrainingDynamics(len(dataset.split("train")), len(dataset.classes))
        self.discover_at = epoch_of_discovery(pipeline)
        self.spent = TimeSpent()

    # ---- from start to end

    def run_to_end(self, resume: bool) -> None:
        last = find_checkpoint(self.run.checkpoints / "last") if resume else None
        self.bench = self._prepare(fresh=last is None)
        seen = (self.bench.model, self.bench.sample_weights, self.bench.device, self.precision)
        self.objective = Objective(self.pipeline, *seen)
        kept = [self.bench.schedule, self.progress, self.dynamics]
        self.accelerator.register_for_checkpointing(*kept, *([self.bench.average] if self.bench.average else []))
        if last is not None:
            self._resume(last)
        updates = self.bench.schedule.last_epoch
        opened = trackers_of(self.pipeline, self.run, self.accelerator, self.progress, updates, fresh=last is None)
        with opened as self.trackers, StopRequest() as stop:
            while self.progress.epoch < self.config.epochs and not self._out_of_patience():
                self._train_epoch(stop)
                self._close_epoch()
        if self.accelerator.is_main_process and self.dynamics.kept:
            np.save(self.run.learned_probabilities, self.dynamics.mean().astype(np.float16))

    def _prepare(self, fresh: bool) -> Workbench:
        set_seed(self.pipeline.seed)
        bare = build_model(self.pipeline.model, self.dataset.classes)
        device = self.accelerator.device
        self.say(f"training on {device.type} in {self.precision}, {self.accelerator.num_processes} process(es)")
        workers = loading_processes(self.config.workers, self.accelerator.num_processes)
        source = self.source = FeatureSource(bare, self.dataset.class_index, device, self.precision, workers)
        bare.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if fresh and self.accelerator.is_main_process:
            for kept in (self.run.path / "discovered.json", self.run.held_out_probabilities):
                kept.unlink(missing_ok=True)
            write_atomically(self.run.training_records, json.dumps([r.id for r in self.dataset.split("train")]))
        self.accelerator.wait_for_everyone()
        found = self._discover() if self.discover_at == 0 else {}
        targets = join_targets(found, self.corrected)
        self.frozen = frozen_features(source, self.pipeline, self.dataset, self.accelerator, self.say)
        if self.pretrained and fresh:
            start_attention(bare, self.frozen or source, self.pipeline, self.dataset, targets, self.say)
            frozen = self.frozen
            embeddings = frozen.embeddings(bare) if frozen else self._outputs(bare, "train").embeddings
            start_classifier(bare, embeddings, self.dataset, self.say)
            if self.accelerator.is_main_process:
                embeddings = frozen.steadier_embeddings(bare, embeddings) if frozen else embeddings
                write_held_out_probabilities(
                    self.run.held_out_probabilities, embeddings, self.dataset, self.pipeline.seed
                )
        return build_workbench(self.pipeline, self.dataset, targets, bare, self.accelerator, self.frozen)

    def _discover(self) -> Rectangles:
        return discovered_targets(self.pipeline, self.run, self.dataset, self.source, self.accelerator, self.say)

    def _resume(self, last: Path) -> None:
        inputs = self.progress.inputs
        self.accelerator.load_state(str(last))
        if self.progress.inputs != inputs:
            raise UserError(
                f"{self.run.path}: the checkpoint was made with other settings, data or corrections.\n"
                "Continue with those, or start again with `rsam train --restart`."
            )
        place = (self.progress.epoch, self.progress.batch)
        if of_main(self.accelerator, place) != place:
            raise UserError(f"{self.run.path}: machines see different checkpoints. Wait a minute and `--resume` again.")
        self.say(f"resuming in epoch {self.progress.epoch + 1}, batch {self.progress.batch + 1}")
        if self.accelerator.is_main_process and self.run.metrics_log.exists():
            lines = self.run.metrics_log.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if json.loads(line)["epoch"] <= self.progress.epoch]
            write_atomically(self.run.metrics_log, "".join(line + "\n" for line in kept))

    # ---- one epoch

    def _train_epoch(self, stop: StopRequest) -> None:
        bench, progress = self.bench, self.progress
        if self.discover_at and progress.epoch >= self.discover_at:
            targets = join_targets(self._discover(), self.corrected)
            if (progress.epoch, progress.batch) == (self.discover_at, 0):  # else this was done before the run stopped
                start_attention(bench.bare, self.frozen or self.source, self.pipeline, self.dataset, targets, self.say)
                parameters_of_main(self.accelerator, bench.bare)
            bench.load_targets(targets)
            self.discover_at = None
        bench.batches.set_position(progress.epoch, progress.batch)
        set_training_mode(bench.bare, self.config, self.pretrained)
        sizes = bench.batches.sizes
        for batch in self.spent.drawing(bench.loader, WAITING):
            with self.spent.on("computing"):
                self._step(batch, sizes[progress.batch])
            self.trackers.update(bench.schedule)
            progress.batch += 1
            if stop.agreed(self.accelerator):
                self._stop_here()

    def _step(self, batch: Batch | FeatureBatch, batch_size: int) -> None:
        """One update. `batch_size` counts all processes: each adds its share of one mean over the whole batch."""
        bench, count = self.bench, len(batch["label"])
        parts = np.array_split(np.arange(count), min(self.config.accumulate, count))
        for number, rows in enumerate(parts):
            last = number == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(bench.model):
                self._add_gradients(_part(batch, rows) if len(parts) > 1 else batch, number, batch_size)
        if self.config.clip_norm is not None:
            self.accelerator.clip_grad_norm_(bench.model.parameters(), self.config.clip_norm)
        bench.optimizer.step()
        bench.schedule.step()
        bench.optimizer.zero_grad()
        if bench.average is not None:
            bench.average.update(bench.bare, step=bench.schedule.last_epoch)
        self.advance(count * self.accelerator.num_processes)

    def _add_gradients(self, batch: Batch | FeatureBatch, part: int, batch_size: int) -> None:
        bench, progress = self.bench, self.progress
        labels, inputs = batch["label"].to(bench.device), bench.inputs(batch)
        mixture = None
        if isinstance(inputs, torch.Tensor) and progress.epoch < self.config.epochs - self.config.mix.off_epochs:
            place = (self.pipeline.seed, progress.epoch, progress.batch, part, self.accelerator.process_index)
            mixture = mix(inputs, self.config.mix, place)
        found = self.objective.of(batch, inputs, labels, mixture)
        # DDP averages gradients over the processes; their shares of the batch need not be equal.
        self.accelerator.backward(found.loss * (self.accelerator.num_processes / batch_size))
        loss, classification, to_target = torch.stack([found.loss, found.classification, found.to_target]).tolist()
        if not math.isfinite(loss):
            raise UserError(
                f"{self.run.path}: the loss is {loss} in epoch {progress.epoch + 1}, batch {progress.batch + 1}.\n"
                "Lower train.learning_rate, or set train.precision=float32, and --restart."
            )
        progress.loss_sum += classification
        progress.target_loss_sum += to_target
        progress.seen += len(labels)
        if not mixture:
            self.dynamics.add(batch["index"], found.logits)

    def _stop_here(self) -> None:
        self.dynamics.merge(self.accelerator)
        save_checkpoint(self.accelerator, self.run.checkpoints / "last")
        raise Interrupted

    # ---- after an epoch

    def _close_epoch(self) -> None:
        progress, accelerator = self.progress, self.accelerator
        self.dynamics.merge(accelerator)
        sums = torch.tensor(
            [progress.loss_sum, progress.target_loss_sum, progress.seen], dtype=torch.float64, device=accelerator.device
        )
        loss_sum, target_sum, seen = accelerator.reduce(sums, reduction="sum").tolist()
        metrics: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "train_loss": loss_sum / seen,
            "target_loss": target_sum / seen,
            "learning_rate": self.bench.schedule.get_last_lr()[0],
            **self._validate(),
        }
        spent = {what: self.spent.take(what) for what in ("computing", WAITING, "validating")}
        seconds = spent["computing"] + spent[WAITING]
        metrics |= {"seconds": round(seconds, 2), "data_wait": round(spent[WAITING] / max(seconds, 1e-9), 4)}
        metrics["validation_seconds"] = round(spent["validating"], 2)
        self.trackers.epoch(metrics, self.bench.schedule.last_epoch)
        # On a small val split many epochs tie, and the schedule has settled further in a later one: ties go to it.
        # Without a val split every epoch ties.
        name = f"val_{self.config.best_by}"
        score, chosen = metrics.get(name, 0.0), self.bench.bare
        better = operator.le if self.config.best_by == "nll" else operator.ge
        if self.bench.average is not None and better(metrics.get(f"ema_{name}", 0.0), score):
            score, chosen = metrics.get(f"ema_{name}", 0.0), self.bench.average.module
        improved = not progress.best or better(score, progress.best[name])
        if improved:
            progress.best = {"epoch": progress.epoch + 1, name: score}
        progress.epoch, progress.batch = progress.epoch + 1, 0
        progress.loss_sum = progress.target_loss_sum = 0.0
        progress.seen = 0
        if improved:
            with self.spent.on("saving"):
                save_checkpoint(accelerator, self.run.checkpoints / "best")
                if accelerator.is_main_process:
                    save_model(chosen, self.run.model)
        if accelerator.is_main_process:
            with self.run.metrics_log.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(metrics) + "\n")
        with self.spent.on("saving"):
            save_checkpoint(accelerator, self.run.checkpoints / "last")
        validated = f"  val top-1 {metrics['val_top1']:.3f}" if "val_top1" in metrics else ""
        if "ema_val_top1" in metrics:
            validated += f" ({metrics['ema_val_top1']:.3f} averaged)"
        self.say(
            f"epoch {metrics['epoch']}/{self.config.epochs}  loss {metrics['train_loss']:.3f}{validated}"
            f"  {as_shares(spent | {'saving': self.spent.take('saving')})}" + ("  (best)" if improved else "")
        )

    def _out_of_patience(self) -> bool:
        """Whether the last `patience` epochs were no better: the same on every process, as all see the same figures."""
        best = self.progress.best.get("epoch", 0)
        waited = self.progress.epoch - int(best)
        if self.config.patience is None or waited < self.config.patience:
            return False
        self.say(f"stopped: no epoch after {int(best)} was better (train.patience={self.config.patience})")
        return True

    def _validate(self) -> dict[str, float]:
        """Top-1, macro top-1 and NLL on `val`, of the average of the weights too; without a val split (every class has
        a single image) there is nothing to choose by."""
        if not self.dataset.split("val"):
            return {}
        with self.spent.on("validating"):
            found = self._figures(self.bench.bare, "val")
            if self.bench.average is not None:
                found |= self._figures(cast(AttentiveClassifier, self.bench.average.module), "ema_val")
        return found

    def _figures(self, model: AttentiveClassifier, prefix: str) -> dict[str, float]:
        labels = np.array([self.dataset.class_index[r.label] for r in self.dataset.split("val")])
        logits = self.frozen.validation_logits(model) if self.frozen else self._outputs(model, "val").logits
        return validation_figures(logits, labels, prefix)

    def _outputs(self, model: AttentiveClassifier, split: str) -> Any:
        size = self.pipeline.evaluate.batch_size
        records = self.dataset.split(split)
        runner = ModelRunner(model, self.accelerator.device, self.precision, size, self.config.workers)
        return run_model(runner, records)


def _part(batch: Batch | FeatureBatch, rows: np.ndarray) -> Batch | FeatureBatch:
    """Some rows of a batch."""
    taken = slice(int(rows[0]), int(rows[-1]) + 1)
    whole = cast(dict[str, Any], batch)
    cut = {name: [one[taken] for one in v] if isinstance(v, list) else v[taken] for name, v in whole.items()}
    return cast(Batch, cut)
