"""Batches: the photographs to label next, chosen as `rsam select-first` does, in the order of the App's queue."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rsam_app.data import UNLABELLED
from rsam_app.review.dataset.fiftyone_internals import sample_collection
from rsam_app.review.dataset.labelling_fields import RANK, REASON
from rsam_app.review.dataset.schema import memory, remember
from rsam_app.review.labelling.suggest import labelling_run
from rsam_app.run.label_features import LabelFeatures, read_label_features
from rsam_app.selection import Limits, Pool, Selection, find_strategy, pool_of_images, select_from
from rsam_app.system.spreadsheets import csv_text

STRATEGY = "herding"
WITHOUT_FEATURES = "random"


class Batch(NamedTuple):
    """A batch that was taken."""

    number: int
    ids: tuple[str, ...]
    """Its record ids, best first."""


def take_batch(review_set: Any, same_number: bool = False) -> Batch | None:
    """Choose a batch among the images without label and mark, and make it the App's queue; None if none is left.

    By `herding` on the pretrained backbone's features; labelled and marked images count as covered. As long as there
    are no features, at random. With `same_number` it replaces the rest of the present batch. The list and its manifest
    are in the run's `selection/`.
    """
    labelling = memory(review_set).labelling
    if labelling is None:
        raise ValueError(f"{review_set.name}: is not labelled from nothing")
    run = labelling_run(review_set)
    features, paths, decided = read_label_features(run), *_undecided(review_set)
    if features is not None:
        paths = {i: path for i, path in paths.items() if i in features.row_of}  # others cannot be read
    if not paths:
        return None
    settings = run.load_pipeline()
    name = STRATEGY if features else WITHOUT_FEATURES
    chosen = select_from(
        run,
        _pool(paths, decided, features),
        find_strategy(name),
        labelling.budget,
        UNLABELLED,
        settings.seed,
        limits=Limits(near_duplicates=settings.select.near_duplicates if features else None),
        features=features.made_from if features else "none",
    )
    number = labelling.batch if same_number else labelling.batch + 1
    _write(review_set, chosen)
    review_set.reload()
    present = memory(review_set).labelling or labelling
    remember(review_set, labelling=present.model_copy(update={"batch": number, "at_random": features is None}))
    return Batch(number, chosen.ids)


def is_batch_done(review_set: Any) -> bool:
    """Whether no image of the batch is left to label."""
    blank = {RANK: {"$type": "number"}, "review": None, "ground_truth.label": None}
    return sample_collection(review_set).find_one(blank, {"_id": 1}) is None


def _undecided(review_set: Any) -> tuple[dict[str, str], list[str]]:
    """Return the paths of the images to choose from by record id, sorted, and the ids of the others."""
    fields = {"record_id": 1, "filepath": 1, "split": 1, "review": 1, "ground_truth.label": 1}
    paths, decided = {}, []
    for sample in sample_collection(review_set).find({"record_id": {"$type": "string"}}, fields):
        if (sample.get("ground_truth") or {}).get("label") or sample.get("review"):
            decided.append(sample["record_id"])
        elif sample.get("split") == UNLABELLED:
            paths[sample["record_id"]] = sample["filepath"]
    return dict(sorted(paths.items())), decided


def _pool(paths: Mapping[str, str], decided: list[str], features: LabelFeatures | None) -> Pool:
    ids = list(paths)
    if features is None:
        nothing = np.zeros((len(ids), 0), np.float32)
        return pool_of_images(ids, list(paths.values()), UNLABELLED, nothing, nothing[:0])
    rows = [features.row_of[i] for i in ids]
    covered = [features.row_of[i] for i in decided if i in features.row_of]
    vectors = features.vectors
    return pool_of_images(ids, list(paths.values()), UNLABELLED, vectors[rows], vectors[covered])


def _write(review_set: Any, chosen: Selection) -> None:
    """Make the selection the App's queue, with the reasons of its list."""
    from pymongo import UpdateMany, UpdateOne

    with chosen.csv.open(newline="", encoding="utf-8") as stream:
        reasons = {csv_text(row["id"]): csv_text(row["reason"]) for row in csv.DictReader(stream)}
    earlier = {RANK: {"$type": "number"}, "record_id": {"$nin": list(chosen.ids)}}
    updates: list[Any] = [UpdateMany(earlier, {"$unset": {RANK: "", REASON: ""}})]
    for rank, record_id in enumerate(chosen.ids, start=1):
        updates.append(UpdateOne({"record_id": record_id}, {"$set": {RANK: rank, REASON: reasons[record_id]}}))
    sample_collection(review_set).bulk_write(updates)
