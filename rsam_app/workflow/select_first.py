"""`rsam select-first`: which photographs to label first, before there is a run, or even a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rsam_app.data import UNLABELLED, Images, load_images
from rsam_app.evaluation.inference.pretrained_features import pretrained_features
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError

if TYPE_CHECKING:
    from rsam_app.selection import Selection

WITHOUT_MODEL = ("herding", "transductive_design", "typiclust", "k_center", "random")
"""Strategies that ask no model about the images."""


def choose_first(job: Job, strategy: str, budget: int) -> tuple[Selection, str]:
    """Choose among the images without a label by what the pipeline's pretrained backbone sees in them, and write the
    list into the run's `selection/`; those that have a label count as known, and `select.near_duplicates` holds.

    Returns the selection, and what a person does with it. Raises `UserError` for a strategy that needs a model, and
    where there is nothing to choose from.
    """
    from rsam_app.selection import Limits, find_strategy, pool_of_images, select_from

    if strategy not in WITHOUT_MODEL:
        raise UserError(
            f"select-first: {strategy!r} is none of the strategies that ask no model, and there is none yet.\n"
            f"Choose one of {', '.join(WITHOUT_MODEL)}."
        )
    if budget < 1:
        raise UserError(f"select-first: budget is {budget}, expected at least 1.")
    images = _images(job)
    # By their ids, all together: what was looked at is found again when some have got a label meanwhile.
    records = sorted((r for r in images.records if r.split != "test"), key=lambda record: record.id)
    blank = np.array([r.split == UNLABELLED for r in records], dtype=bool)
    chosen_from = [r for r in records if r.split == UNLABELLED]
    if not chosen_from:
        raise UserError(
            f"card {job.card.name}: no image is without a label ({len(images.records):,} have one).\n"
            "Add photographs, or train: `rsam run PIPELINE`; then `rsam select` finds what to look at again."
        )
    features, made_from = pretrained_features(job, records, sorted({r.label for r in records if r.label}))
    ids, paths = [r.id for r in chosen_from], [str(r.path) for r in chosen_from]
    pool = pool_of_images(ids, paths, UNLABELLED, features[blank], features[~blank])
    job.own_run()
    limits, seed = Limits(near_duplicates=job.pipeline.select.near_duplicates), job.pipeline.seed
    chosen = select_from(
        job.run, pool, find_strategy(strategy), budget, UNLABELLED, seed, limits=limits, features=made_from
    )
    return chosen, _what_next(job, chosen, images.has_splits)


def _images(job: Job) -> Images:
    """The card's images; what is left out is said."""
    with job.reporter.bar("reading images") as advance:
        images = load_images(job.card, advance)
    for note in images.notes:
        job.reporter.say(note)
    for skipped in images.skipped:
        job.reporter.say(f"left out: {skipped.path}: {skipped.reason}")
    return images


def _what_next(job: Job, chosen: Selection, has_splits: bool) -> str:
    found = f"{len(chosen.ids)} images by {chosen.strategy}, best first: {chosen.csv}"
    root, train = job.card.root_path, job.card.splits["train"]
    if job.card.layout == "manifest":
        remedy = f"Write their labels into {root}" + (f", and {train!r} as their split" if has_splits else "")
    elif job.card.layout == "folder":
        remedy = f"Move them into class folders, {(root / train if has_splits else root) / 'CLASS'}"
    else:
        remedy = "Give them a label where the dataset has its labels"
    return f"{found}\n{remedy}. With two classes and a few images of each, `rsam run PIPELINE` trains on them."
