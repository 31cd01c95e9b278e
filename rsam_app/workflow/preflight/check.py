"""The checks before a training: data, model, run folder, settings, disk, database; all problems at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsam_app.run.job import Job
from rsam_app.selection import find_strategy
from rsam_app.system.errors import UserError
from rsam_app.system.files import nearest_folder
from rsam_app.system.progress import is_main_process
from rsam_app.workflow.preflight.dataset_facts import dataset_facts, dataset_warnings, summary_of
from rsam_app.workflow.preflight.stopped_training import resume_problem
from rsam_app.workflow.preflight.untrained_classes import refuse_untrained
from rsam_app.workflow.stage_inputs import train_inputs

if TYPE_CHECKING:
    from rsam_app.data import Dataset
    from rsam_app.model import AttentiveClassifier

ANY_CLASSES = ("a", "b")
"""Classes to build a model for if those of the dataset cannot be read."""


@dataclass
class Findings:
    """What the checks found. Dataset and model are None if they are among the `problems`."""

    problems: list[str]
    """What must be changed before training: what, where, what to do."""
    warnings: list[str]
    dataset: Dataset | None = None
    model: AttentiveClassifier | None = None
    database: str | None = None
    """The database of the review; None if it was not asked for."""

    def attempt(self, check: Callable[[], None]) -> None:
        """Run one check; its error becomes a problem."""
        try:
            check()
        except UserError as error:
            if str(error) not in self.problems:  # several checks read the same file
                self.problems.append(str(error))


def check_training(job: Job, resume: bool = True, restart: bool = False, review: bool = False) -> Findings:
    """Check all that can be checked in seconds before `job` is trained, and with `review` also reviewed.

    Reads the images and builds the model, which may load its weights from timm's hub. Writes nothing into the run.
    """
    found = Findings([], [])
    found.attempt(lambda: _check_data(job, found))
    found.attempt(lambda: _check_model(job, found))
    found.attempt(lambda: _check_batches(job, found))
    found.attempt(lambda: job.run.refuse_foreign(job.pipeline.name))
    found.attempt(lambda: _check_stopped(job, resume, restart, found))
    found.attempt(lambda: _check_precision(job))
    found.attempt(lambda: _check_trackers(job))
    if review:
        found.attempt(lambda: _check_evaluation(job, found))
        found.attempt(lambda: _check_selection(job))
        found.attempt(lambda: _check_database(job, found))
    found.attempt(lambda: _check_disk(job, found))
    return found


def pass_preflight(job: Job, resume: bool = True, restart: bool = False, *, review: bool = False) -> None:
    """Raise one `UserError` with all problems of `check_training`, and report its warnings, unless training is done.

    Call it before the run is held for writing, as a refused command must not even create its folder.
    """
    if _is_trained(job):
        return
    found = check_training(job, resume, restart, review)
    if len(found.problems) > 1:
        listed = "\n".join(f"- {problem}" for problem in found.problems)
        raise UserError(f"{len(found.problems)} problems, and nothing was written:\n{listed}")
    if found.problems:
        raise UserError(found.problems[0])
    if found.dataset:
        job.reporter.say(summary_of(dataset_facts(found.dataset)))
    for warning in found.warnings:
        job.reporter.say(f"warning: {warning}")


def _is_trained(job: Job) -> bool:
    try:
        return "train" in job.run.finished_stages and job.run.stage_done("train", train_inputs(job))
    except UserError:  # one of the problems that are to be named together
        return False


def _check_data(job: Job, found: Findings) -> None:
    dataset = job.corrected.dataset
    dataset.require("train")
    refuse_untrained(job, dataset)
    found.warnings += dataset_warnings(dataset, job.pipeline.model.input_side)
    found.dataset = dataset


def _check_model(job: Job, found: Findings) -> None:
    from rsam_app.model import build_model

    found.model = build_model(job.pipeline.model, found.dataset.classes if found.dataset else ANY_CLASSES)


def _check_batches(job: Job, found: Findings) -> None:
    from rsam_app.training.setup import refuse_single_images, smallest_part

    if found.dataset is None:
        return
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    smallest = smallest_part(job.pipeline.train, len(found.dataset.split("train")), processes)
    if smallest == 1 and found.model is not None:
        refuse_single_images(job.pipeline, found.model)


def _check_precision(job: Job) -> None:
    import torch

    from rsam_app.system.precision import choose_precision

    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    if not accelerated:  # otherwise Accelerate chooses the device
        choose_precision(job.pipeline.train.precision, torch.device("cpu"))


def _check_stopped(job: Job, resume: bool, restart: bool, found: Findings) -> None:
    if problem := resume_problem(job, resume, restart, found.dataset):
        raise UserError(problem)


def _check_trackers(job: Job) -> None:
    from rsam_app.training.trackers import require_trackers

    require_trackers(job.pipeline.train.trackers)


def _check_evaluation(job: Job, found: Findings) -> None:
    if found.dataset:
        job.require_evaluated()
        if job.is_unmeasured:
            found.warnings.append("nothing will be evaluated: no labelled image can be held out")


def _check_selection(job: Job) -> None:
    try:
        find_strategy(job.pipeline.select.strategy)
    except UserError as error:
        raise UserError(f"select.strategy: {error}") from error


def _check_database(job: Job, found: Findings) -> None:
    if is_main_process():
        from rsam_app.review.dataset.enter import entered_by
        from rsam_app.review.dataset.other_folder import refuse_other_folder
        from rsam_app.system.mongodb.connection import opened, provide

        found.database = str(provide())
        into = job.pipeline.review.into
        if into:
            entered_by(into, job.card.name, job.review_key)
        if found.dataset is None:
            return
        with opened() as database:
            refuse_other_folder(database, job.original, job.run, job.review_key, into)


def _check_disk(job: Job, found: Findings) -> None:
    from rsam_app.workflow.preflight.cost import disk_bytes

    if found.dataset is None or found.model is None:
        return
    folder = job.run.path.absolute()
    existing = nearest_folder(folder)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: {existing} is not writable. Make it writable, or give another folder with --run.")
    needed, free = disk_bytes(job.pipeline, found.dataset, found.model), shutil.disk_usage(existing).free
    if free < needed:
        raise UserError(
            f"{folder}: the run needs about {_mebibytes(needed)} of disk, and {_mebibytes(free)} are free.\n"
            "Free disk space, or give a folder on another disk with --run."
        )


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
