"""A stopped training: whether there is one, and whether this job may continue it."""

from __future__ import annotations

from rsam_app.config.validation import by_dotted_key
from rsam_app.data import Dataset
from rsam_app.data.left_out import first_names
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.run.trained_on import training_ids
from rsam_app.workflow.stage_inputs import train_inputs

NAMED = 3
"""Changes that a message names."""


def is_stopped(run: RunFolder) -> bool:
    """Whether a training stopped here before its end, with a checkpoint."""
    from rsam_app.training.checkpoint import find_checkpoint

    return find_checkpoint(run.checkpoints / "last") is not None and "train" not in run.finished_stages


def resume_problem(job: Job, resume: bool, restart: bool, dataset: Dataset | None) -> str | None:
    """Why a stopped training of this run may not be continued or discarded; None if it may, or there is none.

    It is continued with `resume`, and discarded with `restart` alone. Without a `dataset` its images are not compared.
    """
    run = job.run
    if not is_stopped(run):
        return None
    if not (resume or restart):
        return (
            f"{run.path}: a training stopped here before its end.\n"
            "Continue it with `rsam train PIPELINE --resume`, or start again with --restart."
        )
    began = run.read_json().get("training_inputs")
    if not resume or dataset is None or began in (None, train_inputs(job)):
        return None
    changes = [*_changed_settings(job), *_changed_images(run, dataset)]
    named = "; ".join(changes[:NAMED]) if changes else "corrections, or the images' content"
    return (
        f"{run.path}: the checkpoint was made with other settings, data or corrections: {named}.\n"
        "Restore them to continue, or start over with `rsam train PIPELINE --restart`."
    )


def _changed_settings(job: Job) -> list[str]:
    old, new = (by_dotted_key(pipeline.model_dump(mode="json")) for pipeline in (job.run.load_pipeline(), job.pipeline))
    learned_from = [key for key in new if key.split(".")[0] in ("dataset", "seed", "model", "train")]
    return [f"{key} was {old.get(key)!r}, now {new[key]!r}" for key in learned_from if old.get(key) != new[key]]


def _changed_images(run: RunFolder, dataset: Dataset) -> list[str]:
    old = training_ids(run.training_records)
    new = {record.id for record in dataset.split("train")}
    return [
        f"{len(ids):,} training image{'s' if len(ids) > 1 else ''} {what} ({first_names(sorted(ids))})"
        for what, ids in (("added", new - old), ("removed", old - new))
        if ids
    ]
