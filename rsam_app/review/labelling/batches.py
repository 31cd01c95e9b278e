"""Batches: the photographs to label next, chosen as `rsam select-first` does, in the order of the App's queue."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rsam_app.data import UNLABELLED
from rsam_app.review.dataset.fiftyone_internals import sample_collection
from rsam_app.review.dataset.labelling_fields import RANK, REASON
from rsam_app.review.dataset.memory import LabellingMemory
from rsam_app.review.dataset.schema import memory, remember
from rsam_app.review.labelling.suggest import labelling_run
from rsam_app.run.folder import RunFolder
from rsam_app.run.label_features import LabelFeatures, read_label_features
from rsam_app.selection import Limits, Pool, Selection, find_strategy, pool_of_images, select_from
from rsam_app.system.files import write_atomically
from rsam_app.system.json_files import read_json
from rsam_app.system.spreadsheets import csv_text

STRATEGY = "herding"
WITHOUT_FEATURES = "random"


class Batch(NamedTuple):
    """A batch that was taken."""

    number: int
    ids: tuple[str, ...]
    """Its record ids, best first."""


def take_batch(review_set: Any, same_number: bool = False) -> Batch | None:
    """Take the batch that was chosen ahead, else choose one, and make it the App's queue; None if no image is left.

    Chosen among the images without label and mark: by `herding` on the pretrained backbone's features; labelled and
    marked images count as covered. As long as there are no features, at random. With `same_number` it replaces the rest
    of the present batch. The list and its manifest are in the run's `selection/`.
    """
    labelling, run = _labelling(review_set), labelling_run(review_set)
    features = read_label_features(run)
    number = labelling.batch if same_number else labelling.batch + 1
    reasons = None if same_number else _chosen_ahead(review_set, run, number, features)
    if reasons is None:
        chosen = _choose(review_set, labelling, features)
        if chosen is None:
            return None
        reasons = _reasons(chosen.csv)
    _write(review_set, reasons)
    review_set.reload()
    present = memory(review_set).labelling or labelling
    remember(review_set, labelling=present.model_copy(update={"batch": number, "at_random": features is None}))
    return Batch(number, tuple(reasons))


def choose_ahead(review_set: Any, labelling: LabellingMemory) -> bool:
    """Choose the batch after the present one as if every image of this one were decided, for `take_batch` to take at
    once; return whether there is one. Without features there is none. `labelling` is what the dataset remembers of it:
    another thread may use the dataset meanwhile.
    """
    run = RunFolder(Path(labelling.run))
    features = read_label_features(run)
    chosen = _choose(review_set, labelling, features, ahead=True) if features else None
    if features is None or chosen is None:
        return False
    content = {"batch": labelling.batch + 1, "features": features.made_from, "selection": chosen.csv.name}
    write_atomically(run.next_to_label, json.dumps(content))
    return True


def left_in_batch(review_set: Any) -> int:
    """Number of images of the batch without label and mark."""
    return int(sample_collection(review_set).count_documents(_LEFT))


def is_batch_done(review_set: Any) -> bool:
    """Whether no image of the batch is left to label."""
    return sample_collection(review_set).find_one(_LEFT, {"_id": 1}) is None


_UNDECIDED = {"review": None, "ground_truth.label": None}
_LEFT = {RANK: {"$type": "number"}, **_UNDECIDED}


def _labelling(review_set: Any) -> LabellingMemory:
    labelling = memory(review_set).labelling
    if labelling is None:
        raise ValueError(f"{review_set.name}: is not labelled from nothing")
    return labelling


def _chosen_ahead(
    review_set: Any, run: RunFolder, number: int, features: LabelFeatures | None
) -> dict[str, str] | None:
    """Return the reasons by record id of the batch `number` that was chosen ahead, without images that got a label or a
    mark since; None if there is none, it is of other features, or more than half of it is gone."""
    if features is None or not run.next_to_label.exists():
        return None
    try:
        content = read_json(run.next_to_label)
        known = content["batch"] == number and content["features"] == features.made_from
        reasons = _reasons(run.selection / content["selection"]) if known else {}
    except (OSError, ValueError, TypeError, KeyError):  # it is only a short cut
        return None
    query = {"record_id": {"$in": list(reasons)}, **_UNDECIDED}
    left = {sample["record_id"] for sample in sample_collection(review_set).find(query, {"record_id": 1})}
    return {i: reason for i, reason in reasons.items() if i in left} if 2 * len(left) > len(reasons) else None


def _choose(
    review_set: Any, labelling: LabellingMemory, features: LabelFeatures | None, ahead: bool = False
) -> Selection | None:
    """Choose a batch; with `ahead`, the images of the present one count as covered. None if no image is left."""
    run = RunFolder(Path(labelling.run))
    paths, decided = _undecided(review_set, ahead)
    if features is not None:
        paths = {i: path for i, path in paths.items() if i in features.row_of}  # others cannot be read
    if not paths:
        return None
    settings = run.load_pipeline()
    return select_from(
        run,
        _pool(paths, decided, features),
        find_strategy(STRATEGY if features else WITHOUT_FEATURES),
        labelling.budget,
        UNLABELLED,
        settings.seed,
        limits=Limits(near_duplicates=settings.select.near_duplicates if features else None),
        features=features.made_from if features else "none",
    )


def _undecided(review_set: Any, ahead: bool) -> tuple[dict[str, str], list[str]]:
    """Return the paths of the images to choose from by record id, sorted, and the ids of the others, to which with
    `ahead` those in the batch belong."""
    fields = {"record_id": 1, "filepath": 1, "split": 1, "review": 1, "ground_truth.label": 1, RANK: 1}
    paths, decided = {}, []
    for sample in sample_collection(review_set).find({"record_id": {"$type": "string"}}, fields):
        is_decided = (sample.get("ground_truth") or {}).get("label") or sample.get("review")
        if is_decided or (ahead and sample.get(RANK) is not None):
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


def _reasons(queue: Path) -> dict[str, str]:
    """The reasons in a selection's list by record id, best first."""
    with queue.open(newline="", encoding="utf-8") as stream:
        return {csv_text(row["id"]): csv_text(row["reason"]) for row in csv.DictReader(stream)}


def _write(review_set: Any, reasons: Mapping[str, str]) -> None:
    """Make these images, best first, the App's queue."""
    from pymongo import UpdateMany, UpdateOne

    earlier = {RANK: {"$type": "number"}, "record_id": {"$nin": list(reasons)}}
    updates: list[Any] = [UpdateMany(earlier, {"$unset": {RANK: "", REASON: ""}})]
    for rank, (record_id, reason) in enumerate(reasons.items(), start=1):
        updates.append(UpdateOne({"record_id": record_id}, {"$set": {RANK: rank, REASON: reason}}))
    sample_collection(review_set).bulk_write(updates)
