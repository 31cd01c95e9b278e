"""The label that is believed instead of the given one: shown on its image, and taken by a person who agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rsam_app.data.images.file_identity import stamp
from rsam_app.evaluation.scores.label_belief import believed_labels
from rsam_app.review.dataset.compare_and_set import now
from rsam_app.review.dataset.schema import add_field
from rsam_app.run.folder import RunFolder
from rsam_app.system.files import fingerprint
from rsam_app.system.versions import SUGGESTED_LABELS

_AT_ONCE = 20_000
"""Rows in a part. Each part reads anew which images the run was trained on."""


class Suggestion(NamedTuple):
    """A label, and its probability in [0, 1]."""

    label: str
    probability: float


def beliefs_state(run: RunFolder) -> str:
    """A fingerprint of the tables and of what the run believed while it trained, by size and time."""
    kept = (run.training_records, run.learned_probabilities, run.held_out_probabilities)
    files = [*sorted(run.predictions.glob("*.parquet")), *kept]
    return fingerprint(SUGGESTED_LABELS, [(path.name, stamp(path)) for path in files])


def write_suggestions(review_set: Any, key: str, run: RunFolder, table: pa.Table, samples: Sequence[str]) -> None:
    """Bring `KEY_suggested` and `KEY_suggested_probability` up to date: of each row of the predictions, whose sample
    ids are `samples`, the label that is believed where it is not the one in the table; else nothing.

    By the part, so that memory does not grow with the dataset.
    """
    import fiftyone as fo

    label, probability = _fields(key)
    about = "the label that is believed instead of the one in the files; key 7 takes it"
    add_field(review_set, label, fo.StringField, description=about)
    add_field(review_set, probability, fo.FloatField, description=f"the probability of {label}")
    for start in range(0, table.num_rows, _AT_ONCE):
        found = _believed(run, table.slice(start, _AT_ONCE), samples[start : start + _AT_ONCE])
        _write_changed(review_set, key, found)


def _believed(run: RunFolder, rows: pa.Table, samples: Sequence[str]) -> dict[str, Suggestion | None]:
    ids, splits, labels, predicted, confidence = (
        rows.column(name).to_pylist() for name in ("id", "split", "label", "predicted", "confidence")
    )
    found: dict[str, Suggestion | None] = {}
    believed = believed_labels(run, ids, splits, predicted, confidence)
    for sample, given, (label, chance) in zip(samples, labels, believed, strict=True):
        known = label and chance is not None and np.isfinite(chance)
        found[sample] = Suggestion(label, chance) if known and label != given else None
    return found


def _write_changed(review_set: Any, key: str, found: Mapping[str, Suggestion | None]) -> None:
    from bson import ObjectId
    from pymongo import UpdateOne

    collection, names = review_set._sample_collection, _fields(key)
    updates = []
    for held in collection.find({"_id": {"$in": [ObjectId(i) for i in found]}}, dict.fromkeys(names, 1)):
        wanted = dict(zip(names, found[str(held["_id"])] or (None, None), strict=True))
        if wanted != {name: held.get(name) for name in names}:
            updates.append(UpdateOne({"_id": held["_id"]}, {"$set": {**wanted, "last_modified_at": now()}}))
    if updates:
        collection.bulk_write(updates, ordered=False)


def suggestions(review_set: Any, sample_ids: Sequence[str], key: str) -> dict[str, Suggestion]:
    """By sample id, what is suggested; without those whose `ground_truth` says so already."""
    names = _fields(key)
    if not review_set.has_sample_field(names[0]):
        return {}
    found = review_set.select(list(sample_ids)).values(["id", "ground_truth.label", *names])
    return {
        sample_id: Suggestion(label, probability)
        for sample_id, given, label, probability in zip(*found, strict=True)
        if label is not None and label != given
    }


def _fields(key: str) -> tuple[str, str]:
    return f"{key}_suggested", f"{key}_suggested_probability"
