"""`rsam select-first`: choose the photographs to label first, before there is a run or even a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rsam_app.data import UNLABELLED, Images, Record
from rsam_app.evaluation.inference.pretrained_features import pretrained_features
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError

if TYPE_CHECKING:
    from rsam_app.selection import Selection

WITHOUT_MODEL = ("herding", "transductive_design", "typiclust", "k_center", "random")
"""Strategies that need no trained model."""


def choose_first(job: Job, strategy: str, budget: int) -> tuple[Selection, str]:
    """Choose unlabelled images by the features of the pipeline's pretrained backbone, and write the list into the run's
    `selection/`. Labelled images count as known, and `select.near_duplicates` applies.

    Returns the selection, and the text that says what to do with it. Raises `UserError` for a strategy that needs a
    trained model, and if no image is unlabelled.
    """
    from rsam_app.selection import Limits, find_strategy, pool_of_images, select_from

    if strategy not in WITHOUT_MODEL:
        raise UserError(
            f"select-first: {strategy!r} is not a strategy that works without a trained model.\n"
            f"Choose one of {', '.join(WITHOUT_MODEL)}."
        )
    if budget < 1:
        raise UserError(f"select-first: budget is {budget}, expected at least 1.")
    images = job.images
    records = first_records(images)
    blank = np.array([r.split == UNLABELLED for r in records], dtype=bool)
    chosen_from = [r for r in records if r.split == UNLABELLED]
    if not chosen_from:
        raise UserError(
            f"card {job.card.name}: all {len(images.records):,} images have labels.\n"
            "Add photographs, or train with `rsam run PIPELINE`; then `rsam select` finds images to review."
        )
    features, made_from = first_features(job, records)
    ids, paths = [r.id for r in chosen_from], [str(r.path) for r in chosen_from]
    pool = pool_of_images(ids, paths, UNLABELLED, features[blank], features[~blank])
    job.create_run()
    job.run.update_json(data=job.left_out(images))
    limits, seed = Limits(near_duplicates=job.pipeline.select.near_duplicates), job.pipeline.seed
    chosen = select_from(
        job.run, pool, find_strategy(strategy), budget, UNLABELLED, seed, limits=limits, features=made_from
    )
    return chosen, _next_step(job, chosen, images)


def first_records(images: Images) -> list[Record]:
    """The images without the test split, sorted by id, labelled or not: cached features are found again after some of
    them got labels."""
    return sorted((r for r in images.records if r.split != "test"), key=lambda record: record.id)


def first_features(job: Job, records: Sequence[Record]) -> tuple[np.ndarray, str]:
    """`pretrained_features` of these records; reports the weights."""
    job.report_weights()
    return pretrained_features(job, records, sorted({r.label for r in records if r.label}))


def _next_step(job: Job, chosen: Selection, images: Images) -> str:
    result = f"{len(chosen.ids)} images by {chosen.strategy}, best first: {chosen.csv}"
    root, train, has_splits = job.card.root_path, images.splits["train"], images.has_splits
    if job.card.layout == "manifest":
        step = f"Write their labels into {root}" + (f", and {train!r} as their split" if has_splits else "")
    elif job.card.layout == "folder":
        step = f"Move them into class folders, {(root / train if has_splits else root) / 'CLASS'}"
    else:
        step = "Add their labels to the dataset's own"
    return f"{result}\n{step}. From two classes and a few images of each on, `rsam run PIPELINE` can train."
