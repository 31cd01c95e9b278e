"""`rsam select-first`: which photographs to label first, before there is a run, or even a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rsam_app.data import UNLABELLED, Record, load_images
from rsam_app.errors import UserError
from rsam_app.job import Job
from rsam_app.pretrained import pretrained_features

if TYPE_CHECKING:
    from rsam_app.selection import Selection

WITHOUT_MODEL = ("auto", "herding", "transductive_design", "typiclust", "k_center", "random")
"""Strategies that ask no model about the images; `auto` is `herding` then."""


def choose_first(job: Job, strategy: str, budget: int) -> Selection:
    """Choose among the images without a label by what the pipeline's pretrained backbone sees in them, and write the
    list into the run's `selection/`; those that have a label count as known, and `select.near_duplicates` holds.

    Raises `UserError` for a strategy that needs a model, and where every image has a label.
    """
    from rsam_app.selection import Limits, find_strategy, pool_of_images, select_from

    chosen_by = find_strategy(strategy)
    if chosen_by.name not in WITHOUT_MODEL:
        raise UserError(
            f"select-first: {strategy} asks a model, and there is none yet. Choose one of {', '.join(WITHOUT_MODEL)}."
        )
    blank, known = _parted(job)
    if not blank:
        raise UserError(
            f"card {job.card.name}: every image has a label already, so there is none to choose.\n"
            f"Train: `rsam run {job.pipeline.name}`; then `rsam select` finds what to look at again."
        )
    classes = sorted({record.label for record in known})
    features, _ = pretrained_features(job, [*blank, *known], classes)
    ids, paths = [r.id for r in blank], [str(r.path) for r in blank]
    pool = pool_of_images(ids, paths, UNLABELLED, features[: len(blank)], features[len(blank) :])
    if not job.run.config_path.exists():
        job.run.save_pipeline(job.pipeline)
    limits = Limits(near_duplicates=job.pipeline.select.near_duplicates)
    return select_from(job.run, pool, chosen_by, budget, UNLABELLED, job.pipeline.seed, limits=limits)


def what_next(job: Job, chosen: Selection) -> str:
    """What a person does with the list."""
    root = job.card.root_path
    by_layout = {
        "manifest": f"Write their labels into {root}",
        "folder": f"Move them into class folders, {root / 'CLASS'}",
    }
    remedy = by_layout.get(job.card.layout, f"Give them a label in {root}")
    return (
        f"{len(chosen.ids)} images by {chosen.strategy}, best first: {chosen.csv}\n"
        f"{remedy}; from two classes on `rsam run {job.pipeline.name}` trains on them."
    )


def _parted(job: Job) -> tuple[Sequence[Record], Sequence[Record]]:
    """The images without a label, and those to train on that have one."""
    with job.reporter.bar("reading images") as advance:
        records = load_images(job.card, advance)
    return [r for r in records if r.split == UNLABELLED], [r for r in records if r.split in ("train", "val")]
