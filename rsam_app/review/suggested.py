"""The label that is believed instead of the given one: shown on its image, and taken by a person who agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rsam_app.duplicates.thumbnails import stamp
from rsam_app.review.dataset import add_field
from rsam_app.review.swap import now
from rsam_app.run_folder import RunFolder, fingerprint
from rsam_app.selection.suggestion import believed_labels

VERSION = 1
"""Raised when labels are suggested otherwise, so that they are written again."""
_AT_ONCE = 20_000


class Suggestion(NamedTuple):
    """A label, and its probability in [0, 1]."""

    label: str
    probability: float


def beliefs_state(run: RunFolder) -> str:
    """A fingerprint of the tables and of what the run believed while it trained, by size and time."""
    kept = (run.training_records, run.learned_probabilities, run.held_out_probabilities)
    files = [*sorted(run.predictions.glob("*.parquet")), *kept]
    return fingerprint(VERSION, [(path.name, stamp(path)) for path in files])


def suggest(run: RunFolder, table: pa.Table, samples: Sequence[str]) -> dict[str, Suggestion | None]:
    """By sample id the label that is believed, where it is not the one in the table."""
    found: dict[str, Suggestion | None] = {}
    for start in range(0, table.num_rows, _AT_ONCE):
        part = table.slice(start, _AT_ONCE)
        ids, splits, labels, predicted, confidence = (
            part.column(name).to_pylist() for name in ("id", "split", "label", "predicted", "confidence")
        )
        believed = believed_labels(run, ids, splits, predicted, confidence)
        for sample, given, (label, chance) in zip(samples[start : start + _AT_ONCE], labels, believed, strict=True):
            known = label and chance is not None and np.isfinite(chance)
            found[sample] = Suggestion(label, chance) if known and label != given else None
    return found


def write_suggestions(review_set: Any, key: str, found: Mapping[str, Suggestion | None]) -> None:
    """Bring `KEY_suggested` and `KEY_suggested_probability` up to date, by sample id; None: nothing is suggested."""
    import fiftyone as fo
    from bson import ObjectId
    from pymongo import UpdateOne

    names = _fields(key)
    about = "the label that is believed instead of the one in the files; key 7 takes it"
    add_field(review_set, names[0], fo.StringField, description=about)
    add_field(review_set, names[1], fo.FloatField, description=f"the probability of {names[0]}")
    updates = []
    for sample_id, *held in zip(*review_set.values(["id", *names]), strict=True):
        wanted = list(found.get(sample_id) or (None, None))
        if sample_id in found and wanted != held:
            new = dict(zip(names, wanted, strict=True))
            updates.append(UpdateOne({"_id": ObjectId(sample_id)}, {"$set": {**new, "last_modified_at": now()}}))
    if updates:
        review_set._sample_collection.bulk_write(updates, ordered=False)


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
