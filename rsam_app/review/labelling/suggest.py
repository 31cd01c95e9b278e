"""Suggested labels before there is a model, kept up to date with the labels given so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsam_app.review.dataset.fiftyone_internals import sample_collection
from rsam_app.review.dataset.label_documents import Document
from rsam_app.review.dataset.labelling_fields import PROBABILITY, SUGGESTED
from rsam_app.review.dataset.schema import memory
from rsam_app.run.folder import RunFolder
from rsam_app.run.label_features import LabelFeatures, read_label_features
from rsam_app.selection.nearest_centroid import nearest_centroids

FIELDS = ("record_id", "ground_truth.label", SUGGESTED, PROBABILITY)
NOTHING = (None, None)

Suggested = tuple[str | None, float | None]
"""A class and its probability, rounded to hundredths so that small changes are not written; or neither."""


def labelling_run(review_set: Any) -> RunFolder:
    """Return the run folder of the labelling. Raises `ValueError` if the dataset is not labelled from nothing."""
    labelling = memory(review_set).labelling
    if labelling is None:
        raise ValueError(f"{review_set.name}: is not labelled from nothing")
    return RunFolder(Path(labelling.run))


def update_suggestions(review_set: Any, sample_ids: Sequence[str] | None = None) -> int:
    """Write the suggestion of every image without a label, or of those in `sample_ids`; return how many changed.

    There are none until features are computed and two classes have an image each. An image with a label has none.
    """
    from bson import ObjectId
    from pymongo import UpdateMany

    collection = sample_collection(review_set)
    labelled = {"ground_truth.label": {"$type": "string"}}
    wanted: Document = {}
    if sample_ids is not None:
        wanted = {"$or": [labelled, {"_id": {"$in": [ObjectId(i) for i in sample_ids]}}]}
    samples = list(collection.find(wanted, dict.fromkeys(FIELDS, 1)))
    suggested = _suggest(samples, read_label_features(labelling_run(review_set)))
    changed: dict[Suggested, list[Any]] = {}
    for sample, new in zip(samples, suggested, strict=True):
        if new != (sample.get(SUGGESTED), sample.get(PROBABILITY)):
            changed.setdefault(new, []).append(sample["_id"])
    # Without `last_modified_at`: a person may be drawing on one of these images, and the App would refuse to save it.
    updates = [
        UpdateMany({"_id": {"$in": ids}}, {"$set": {SUGGESTED: label, PROBABILITY: probability}})
        for (label, probability), ids in changed.items()
    ]
    return int(collection.bulk_write(updates, ordered=False).modified_count) if updates else 0


def _suggest(samples: Sequence[Mapping[str, Any]], features: LabelFeatures | None) -> list[Suggested]:
    """Return the suggestion of each sample as stored in the database."""
    suggested: list[Suggested] = [NOTHING] * len(samples)
    if features is None:
        return suggested
    given = np.array([str((sample.get("ground_truth") or {}).get("label") or "") for sample in samples], dtype=object)
    rows = np.array([features.row_of.get(str(sample.get("record_id")), -1) for sample in samples], dtype=np.int64)
    known, blank = (np.flatnonzero((rows >= 0) & having) for having in (given != "", given == ""))
    names, labels = np.unique(given[known], return_inverse=True)
    if len(names) < 2 or not len(blank):
        return suggested
    directions = features.directions
    best, probabilities = nearest_centroids(directions[rows[known]], labels, directions[rows[blank]])
    for i, label, probability in zip(blank.tolist(), best.tolist(), probabilities.tolist(), strict=True):
        suggested[i] = (names[label], round(probability, 2))
    return suggested
