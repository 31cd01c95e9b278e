"""Curves of a run in TensorBoard, or in another tracker that Accelerate knows."""

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
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically
from rsam_app.training.checkpoint import Progress

EVERY = 10
"""Updates between two points of the curves within an epoch."""

PACKAGES = {"comet_ml": "comet-ml"}
"""What to install, where it is not called as the tracker is."""


class Trackers:
    """Curves over updates; the main process writes them.

    `update/…`: loss of the main process's part of one batch, and the backbone's learning rate. `epoch/…`: everything
    that `metrics.jsonl` holds.
    """

    def __init__(self, accelerator: Accelerator, progress: Progress) -> None:
        self._accelerator, self._progress = accelerator, progress
        self._before = (progress.loss_sum, progress.seen)

    def update(self, schedule: torch.optim.lr_scheduler.LRScheduler) -> None:
        """After an update of the weights."""
        loss_sum, seen = self._before if self._progress.batch else (0.0, 0)
        self._before = (self._progress.loss_sum, self._progress.seen)
        if schedule.last_epoch % EVERY == 0 and self._progress.seen > seen:
            loss = (self._progress.loss_sum - loss_sum) / (self._progress.seen - seen)
            values = {"update/loss": loss, "update/learning_rate": float(schedule.get_last_lr()[0])}
            self._accelerator.log(values, step=schedule.last_epoch)

    def epoch(self, metrics: Mapping[str, float], updates: int) -> None:
        """After an epoch, before its checkpoint: what is told twice because a run was killed in between is purged."""
        self._accelerator.log({f"epoch/{name}": value for name, value in metrics.items()}, step=updates)


@contextmanager
def trackers_of(
    pipeline: Pipeline, run: RunFolder, accelerator: Accelerator, progress: Progress, updates: int, fresh: bool
) -> Iterator[Trackers]:
    """Trackers of a run that stands at `progress`, after so many `updates`; a `fresh` one begins new curves, another
    continues its own. Raises `UserError` where one does not start."""
    if accelerator.is_main_process and fresh:
        shutil.rmtree(run.path / "tensorboard", ignore_errors=True)
        (run.path / "trackers.json").unlink(missing_ok=True)
    _begin(pipeline, run, accelerator, updates, fresh)
    if accelerator.is_main_process:
        _remember(accelerator, run)
    try:
        yield Trackers(accelerator, progress)
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()


def _begin(pipeline: Pipeline, run: RunFolder, accelerator: Accelerator, updates: int, fresh: bool) -> None:
    settings = _flat(pipeline.model_dump(mode="json")) if fresh else None
    begun: list[Any] = []
    for name in pipeline.train.trackers:
        accelerator.trackers = []
        try:
            accelerator.log_with = [_tracker(name, pipeline, run, updates)]
            accelerator.init_trackers(pipeline.name, config=settings)
        except Exception as error:  # each refuses in its own way: not logged in, no server, no place to write
            for tracker in begun:
                tracker.finish()
            raise UserError(
                f"train.trackers: {name} does not start: {type(error).__name__}: {error}\n"
                "Mend that, or leave it out: --set 'train.trackers=[]' for none."
            ) from error
        begun += accelerator.trackers
    accelerator.trackers = begun


def require_trackers(names: Sequence[str]) -> None:
    """Raise `UserError` where one of these trackers is not installed."""
    from accelerate.tracking import get_available_trackers

    for name in names:
        if name not in {str(one) for one in get_available_trackers()}:
            package = PACKAGES.get(name, name)
            raise UserError(
                f"train.trackers: {name} is not installed.\n"
                f"`pip install {package}`, or leave it out: --set 'train.trackers=[]' for none."
            )


def _tracker(name: str, pipeline: Pipeline, run: RunFolder, updates: int) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    made = LOGGER_TYPE_TO_CLASS[name]
    kept = _remembered(run).get(name)
    if name == "tensorboard":
        _begin_another_second(run)
        return made("tensorboard", str(run.path), purge_step=updates + 1)
    if name == "wandb":
        return made(pipeline.name, name=run.path.resolve().name, dir=str(run.path), id=kept, resume="allow")
    if name == "mlflow":
        return made(pipeline.name, run_name=run.path.resolve().name, run_id=kept)
    return made(pipeline.name, str(run.path)) if made.requires_logging_directory else made(pipeline.name)


def _begin_another_second(run: RunFolder) -> None:
    """TensorBoard reads files in the order of the second they were begun in; one of the same second might not be."""
    begun = [int(path.name.split(".")[3]) for path in (run.path / "tensorboard").rglob("events.out.tfevents.*")]
    if begun:
        time.sleep(min(1.0, max(0.0, max(begun) + 1 - time.time())))


def _remembered(run: RunFolder) -> dict[str, str]:
    path = run.path / "trackers.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _remember(accelerator: Accelerator, run: RunFolder) -> None:
    """Keep under which name a service knows this run, so that a resumed one continues its curves."""
    names: dict[str, str] = {}
    for tracker in accelerator.trackers:
        if tracker.name == "wandb":
            names["wandb"] = tracker.tracker.id
        elif tracker.name == "mlflow":
            names["mlflow"] = tracker.tracker.info.run_id
    if names:
        write_atomically(run.path / "trackers.json", json.dumps(names))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Settings by dotted key; what is no number or text is written as JSON."""
    flat: dict[str, bool | int | float | str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return flat
