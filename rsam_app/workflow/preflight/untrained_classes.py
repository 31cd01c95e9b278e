"""Refusal of classes that corrections left without a training image, if the card asks for it."""

from __future__ import annotations

from rsam_app.data import Dataset
from rsam_app.run.corrections import untrained_classes
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError


def refuse_untrained(job: Job, dataset: Dataset) -> None:
    """Raise `UserError` if corrections left a class without a training image and the card refuses that."""
    untrained = untrained_classes(job.present_classes, dataset.records)
    if untrained and job.card.untrained_classes == "refuse":
        raise UserError(
            f"{job.run.path}: the class {untrained[0]!r} has no training image left after the corrections"
            f" ({len(untrained)} such classes).\n"
            "Add images of it, undo a correction in the App, or set `untrained_classes: leave_out` in the card."
        )
