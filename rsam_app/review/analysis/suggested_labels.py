"""Suggested labels: the most probable label of an image, if it differs from the given one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rsam_app.data.images.file_identity import stamp
from rsam_app.evaluation.scores.label_belief import believed_labels
from rsam_app.review.dataset.compare_and_set import now
from rsam_app.review.dataset.fiftyone_internals import sample_collection
from rsam_app.review.dataset.guest import label_path
from rsam_app.review.dataset.schema import add_fields
from rsam_app.run.folder import RunFolder
from rsam_app.system.files import fingerprint
from rsam_app.system.versions import SUGGESTED_LABELS

CHUNK = 20_000
"""Rows that are computed at once. Every chunk reads the list of training images again."""


class Suggestion(NamedTuple):
    """A label, and its probability in [0, 1]."""

    label: str
    probability: float


def beliefs_state(run: RunFolder, names: Mapping[str, str]) -> str:
    """Return a fingerprint of the tables and the training probabilities, by size and modification time, and of the
    present `names` of classes."""
    beliefs = (run.training_records, run.learned_probabilities, run.held_out_probabilities)
    files = [*sorted(run.predictions.glob("*.parquet")), *beliefs]
    stamps = [(path.name, stamp(path)) for path in files]
    return fingerprint(SUGGESTED_LABELS, stamps, *([sorted(names.items())] if names else []))


def write_suggestions(
    review_set: Any,
    key: str,
    run: RunFolder,
    table: pa.Table,
    samples: Sequence[str],
    names: Mapping[str, str],
) -> None:
    """Update `KEY_suggested` and `KEY_suggested_probability` for each row of the predictions, whose sample ids are
    `samples`; both are empty if the most probable label is the given one.

    Works in chunks, so that memory does not grow with the dataset.
    """
    import fiftyone as fo

    label, probability = _fields(key)
    about = "the most probable label, if the one in the files differs; key 7 accepts it"
    suggestion = {"ftype": fo.StringField, "description": about}
    certainty = {"ftype": fo.FloatField, "description": f"the probability of {label}"}
    add_fields(review_set, {label: suggestion, probability: certainty})
    for start in range(0, table.num_rows, CHUNK):
        suggested = _suggestions(run, table.slice(start, CHUNK), samples[start : start + CHUNK], names)
        _write_changed(review_set, key, suggested)


def _suggestions(
    run: RunFolder, rows: pa.Table, samples: Sequence[str], names: Mapping[str, str]
) -> dict[str, Suggestion | None]:
    ids, splits, labels, predicted, confidence = (
        rows.column(name).to_pylist() for name in ("id", "split", "label", "predicted", "confidence")
    )
    suggested: dict[str, Suggestion | None] = {}
    believed = believed_labels(run, ids, splits, predicted, confidence)
    for sample, given, (label, probability) in zip(samples, labels, believed, strict=True):
        label, given = names.get(label, label), names.get(given, given)
        known = label and probability is not None and np.isfinite(probability)
        suggested[sample] = Suggestion(label, probability) if known and label != given else None
    return suggested


def _write_changed(review_set: Any, key: str, suggested: Mapping[str, Suggestion | None]) -> None:
    from bson import ObjectId
    from pymongo import UpdateOne

    collection, names = sample_collection(review_set), _fields(key)
    updates = []
    for sample in collection.find({"_id": {"$in": [ObjectId(i) for i in suggested]}}, dict.fromkeys(names, 1)):
        new = dict(zip(names, suggested[str(sample["_id"])] or (None, None), strict=True))
        if new != {name: sample.get(name) for name in names}:
            updates.append(UpdateOne({"_id": sample["_id"]}, {"$set": {**new, "last_modified_at": now()}}))
    if updates:
        collection.bulk_write(updates, ordered=False)


def suggestions(review_set: Any, sample_ids: Sequence[str], key: str) -> dict[str, Suggestion]:
    """Return the suggestions by sample id, without those that `ground_truth` already follows."""
    names = _fields(key)
    if not review_set.has_sample_field(names[0]):
        return {}
    columns = review_set.select(list(sample_ids)).values(["id", label_path(review_set), *names])
    return {
        sample_id: Suggestion(label, probability)
        for sample_id, given, label, probability in zip(*columns, strict=True)
        if label is not None and label != given
    }


def _fields(key: str) -> tuple[str, str]:
    return f"{key}_suggested", f"{key}_suggested_probability"
