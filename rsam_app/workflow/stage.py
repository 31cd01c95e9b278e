"""A stage of a run: it is skipped if its inputs did not change since it finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from rsam_app.run.job import Job
from rsam_app.system.distributed.agreement import of_main
from rsam_app.system.distributed.rank import current_rank
from rsam_app.system.progress import is_main_process

T = TypeVar("T")


@dataclass(frozen=True)
class Stage(Generic[T]):
    """One stage of a run. `inputs` is a function, as earlier stages change its value."""

    name: str
    """The key in `run.json`."""
    inputs: Callable[[], str]
    """Fingerprint of everything the result depends on."""
    work: Callable[[], T]
    every_process: bool = False
    """All processes of the launch work together; otherwise the main process works alone."""


def run_if_changed(job: Job, stage: Stage[T]) -> None:
    """Run a stage unless it is done; without `every_process`, do nothing on the other processes."""
    if not stage.every_process and not is_main_process():
        return
    if is_done(job, stage):
        job.reporter.say(f"{stage.name}: nothing changed")
    else:
        run_stage(job, stage)


def run_stage(job: Job, stage: Stage[T]) -> T:
    """Do the work of a stage, then record its inputs and duration in `run.json`; returns what the work returns."""
    begun = time.perf_counter()
    result = stage.work()
    if is_main_process():
        job.run.finish_stage(stage.name, stage.inputs(), time.perf_counter() - begun)
    if stage.every_process:
        job.accelerator.wait_for_everyone()
    return result


def is_done(job: Job, stage: Stage[T]) -> bool:
    """Whether a stage finished with its present inputs; all processes of `every_process` must call this together."""
    done = job.run.stage_done(stage.name, stage.inputs())
    return from_main(job, done) if stage.every_process else done


def from_main(job: Job, value: T) -> T:
    """The main process's `value`, on every process."""
    return value if current_rank() is None else of_main(job.accelerator, value)
