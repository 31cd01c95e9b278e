"""A run's curves in TensorBoard or another tracker that Accelerate supports."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator

from rsam_app.config import Pipeline
from rsam_app.config.validation import by_dotted_key
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically
from rsam_app.system.json_files import read_own
from rsam_app.training.checkpoint import TrainingProgress

LOG_INTERVAL = 10
"""Updates between two points of the curves within an epoch."""

PACKAGES = {"comet_ml": "comet-ml"}
"""Packages whose name differs from the tracker's."""


class Trackers:
    """Curves over updates, written by the main process.

    `update/…`: loss of the main process's part of one batch, and the backbone's learning rate. `epoch/…`: everything in
    `metrics.jsonl`.
    """

    def __init__(self, accelerator: Accelerator, progress: TrainingProgress) -> None:
        self._accelerator, self._progress = accelerator, progress
        self._previous = (progress.loss_sum, progress.seen)

    def update(self, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
        """Log an update of the weights."""
        loss_sum, seen = self._previous if self._progress.batch else (0.0, 0)
        self._previous = (self._progress.loss_sum, self._progress.seen)
        if schedule.last_epoch % LOG_INTERVAL == 0 and self._progress.seen > seen:
            loss = (self._progress.loss_sum - loss_sum) / (self._progress.seen - seen)
            values = {"update/loss": loss, "update/learning_rate": float(schedule.get_last_lr()[0])}
            self._accelerator.log(values, step=schedule.last_epoch)

    def epoch(self, metrics: Mapping[str, float], updates: int) -> None:
        """Log an epoch, before its checkpoint: if the run is killed in between, the resume purges and repeats it."""
        self._accelerator.log({f"epoch/{name}": value for name, value in metrics.items()}, step=updates)


@contextmanager
def trackers_of(
    pipeline: Pipeline, run: RunFolder, accelerator: Accelerator, progress: TrainingProgress, updates: int, fresh: bool
) -> Iterator[Trackers]:
    """The trackers of a run at `progress`, after so many `updates`; a `fresh` run starts new curves, a resumed one
    continues its own. Raises `UserError` if one does not start."""
    if accelerator.is_main_process and fresh:
        shutil.rmtree(run.path / "tensorboard", ignore_errors=True)
        (run.path / "trackers.json").unlink(missing_ok=True)
    _start(pipeline, run, accelerator, updates, fresh)
    if accelerator.is_main_process:
        _store_ids(accelerator, run)
    try:
        yield Trackers(accelerator, progress)
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def _start(pipeline: Pipeline, run: RunFolder, accelerator: Accelerator, updates: int, fresh: bool) -> None:
    settings = _flat(pipeline.model_dump(mode="json")) if fresh else None
    started: list[Any] = []
    for name in pipeline.train.trackers:
        accelerator.trackers = []
        try:
            accelerator.log_with = [_tracker(name, pipeline, run, updates)]
            accelerator.init_trackers(pipeline.name, config=settings)
        except Exception as error:  # each has its own: not logged in, no server, folder not writable
            for tracker in started:
                tracker.finish()
            raise UserError(
                f"train.trackers: {name} does not start: {type(error).__name__}: {error}\n"
                "Fix this or leave it out: --set 'train.trackers=[]' for none."
            ) from error
        started += accelerator.trackers
    accelerator.trackers = started


def require_trackers(names: Sequence[str]) -> None:
    """Raise `UserError` if one of these trackers is not installed."""
    from accelerate.tracking import get_available_trackers

    for name in names:
        if name not in {str(one) for one in get_available_trackers()}:
            package = PACKAGES.get(name, name)
            raise UserError(
                f"train.trackers: {name} is not installed.\n"
                f"Run `pip install {package}` or leave it out: --set 'train.trackers=[]' for none."
            )


def _tracker(name: str, pipeline: Pipeline, run: RunFolder, updates: int) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    tracker = LOGGER_TYPE_TO_CLASS[name]
    known_id = _stored_ids(run).get(name)
    if name == "tensorboard":
        _wait_for_another_second(run)
        return tracker("tensorboard", str(run.path), purge_step=updates + 1)
    if name == "wandb":
        return tracker(pipeline.name, name=run.path.resolve().name, dir=str(run.path), id=known_id, resume="allow")
    if name == "mlflow":
        return tracker(pipeline.name, run_name=run.path.resolve().name, run_id=known_id)
    return tracker(pipeline.name, *([str(run.path)] if tracker.requires_logging_directory else []))


def _wait_for_another_second(run: RunFolder) -> None:
    """TensorBoard orders files by the second of their start; within one second the order is undefined."""
    starts = [int(path.name.split(".")[3]) for path in (run.path / "tensorboard").rglob("events.out.tfevents.*")]
    if starts:
        time.sleep(min(1.0, max(0.0, max(starts) + 1 - time.time())))


def _stored_ids(run: RunFolder) -> dict[str, str]:
    path = run.path / "trackers.json"
    return read_own(path, dict, "Remove it: the trackers then start new curves.") if path.exists() else {}


def _store_ids(accelerator: Accelerator, run: RunFolder) -> None:
    """Store the ids that services gave this run, so that a resume continues its curves."""
    ids: dict[str, str] = {}
    for tracker in accelerator.trackers:
        if tracker.name == "wandb":
            ids["wandb"] = tracker.tracker.id
        elif tracker.name == "mlflow":
            ids["mlflow"] = tracker.tracker.info.run_id
    if ids:
        write_atomically(run.path / "trackers.json", json.dumps(ids))


def _flat(settings: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Settings by dotted key; values other than numbers and text as JSON."""
    return {
        key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
        for key, value in by_dotted_key(settings).items()
    }
