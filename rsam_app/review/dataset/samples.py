"""The samples of a review dataset, one per record: what they store, and updates when the dataset's files change."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rsam_app.data.records import Dataset, Record
from rsam_app.review.dataset.compare_and_set import Change, compare_and_set, update
from rsam_app.review.dataset.fields import moved
from rsam_app.review.dataset.fiftyone_internals import sample_collection
from rsam_app.review.dataset.guest import GUEST_FIELDS, field_of, is_guest
from rsam_app.review.dataset.label_documents import Document, label_document
from rsam_app.review.dataset.record_fields import (
    Corrections,
    metadata_document,
    record_document,
    relative_boxes,
    true_boxes_document,
)
from rsam_app.review.dataset.schema import memory, remember
from rsam_app.system.files import sha256_of

CHUNK = 2000
"""Samples that are read or written at once."""
Item = TypeVar("Item")


class Samples:
    """The samples of records, read from the database on every call, so memory does not grow with their number."""

    def __init__(self, review_set: Any) -> None:
        self.review_set = review_set
        self.collection = sample_collection(review_set)
        self.none_before = self.collection.find_one({}, {"_id": 1}) is None

    def stored(self, record_ids: Sequence[str], fields: Sequence[str] = ()) -> dict[str, Document]:
        """Return some fields of these records' samples as stored, by record id."""
        projection = dict.fromkeys(("record_id", *fields), 1)
        documents = self.collection.find({"record_id": {"$in": list(record_ids)}}, projection)
        return {document["record_id"]: document for document in documents}

    def record_ids(self) -> set[str]:
        """Return the ids of all records that have a sample."""
        documents = self.collection.find({"record_id": {"$type": "string"}}, {"record_id": 1, "_id": 0})
        return {document["record_id"] for document in documents}

    def adopt_by_path(self, records: Sequence[Record], corrections: Corrections) -> int:
        """Give samples without a `record_id` the id of the record with their path; return how many got one.

        They lost it when the field was deleted in FiftyOne, or the reviewer added them before the card named their
        files. In a dataset of the user's, they also get all other fields of a record, with the `corrections`, and a
        sample whose file the user moved gets the new id. A record with a sample of its own is not given twice: of two
        samples of one file, the first gets the id.
        """
        present, known = self.record_ids(), {record.id for record in records}
        left = {str(record.path.resolve()): record for record in records if record.id not in present}
        guest, split = is_guest(self.review_set), field_of(self.review_set, "split")
        if not left or (not guest and self.collection.estimated_document_count() <= len(present)):
            return 0
        changes = []
        query = {} if guest else {"record_id": None}
        for sample in self.collection.find(query, {"filepath": 1, "record_id": 1, split: 1}):
            if (before := sample.get("record_id")) in known:
                continue
            if record := left.pop(os.path.realpath(str(sample.get("filepath"))), None):
                new: Document = {"record_id": record.id}
                if guest and sample.get(split) is None:
                    document = record_document(record, corrections)
                    new = {field_of(self.review_set, name): value for name, value in document.items()}
                changes.append(Change(sample["_id"], {"record_id": before}, new))
        return sum(compare_and_set(self.collection, part) for part in chunks(changes, CHUNK))

    def follow(self, dataset: Dataset) -> int:
        """Update path, size, split, true boxes and label from the files, except labels and boxes that were edited.

        Returns how many samples changed. If the dataset is unchanged since the last call, nothing is read.
        """
        fingerprint = sha256_of(dataset.fingerprint + "".join(str(record.path) for record in dataset.records))
        if memory(self.review_set).records == fingerprint:
            return 0
        changed = 0
        if not self.none_before:
            for records in chunks(dataset.records, CHUNK):
                changed += update(self.collection, lambda: self._outdated(records))  # noqa: B023 (called at once)
        remember(self.review_set, records=fingerprint)
        return changed

    def _outdated(self, records: Sequence[Record]) -> list[Change]:
        names = {name: field_of(self.review_set, name) for name in GUEST_FIELDS}
        fields = ("filepath", *names.values(), "original_label", "decided_kinds")
        stored = self.stored([r.id for r in records], (*fields, "ground_truth_boxes"))
        changes = []
        for record in (r for r in records if r.id in stored):
            sample = stored[record.id]
            if new := _from_files(record, sample, names):
                expected = {field: sample.get(field) for field in (names["ground_truth"], *new) if "." not in field}
                changes.append(Change(sample["_id"], expected, new))
        return changes


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield `items` in slices of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _from_files(record: Record, stored: Document, names: Mapping[str, str]) -> Document:
    """Return the fields of a record's sample that differ from the files; `names` are those of `GUEST_FIELDS`."""
    new: Document = {}
    size, truth = names["metadata"], names["ground_truth"]
    metadata, label = stored.get(size) or {}, (stored.get(truth) or {}).get("label")
    if truth == "ground_truth" and stored.get("filepath") != str(record.path.resolve()):
        new["filepath"] = str(record.path.resolve())
    if record.width and (metadata.get("width"), metadata.get("height")) != (record.width, record.height):
        new[size] = metadata_document(record)
    if stored.get(names["split"]) != record.split:
        new[names["split"]] = record.split
    original = stored.get("original_label")
    if original != record.label:
        new["original_label"] = record.label
        if (label or "") == (original or "") and "label" not in (stored.get("decided_kinds") or []):
            if label and record.label:
                new[f"{truth}.label"] = record.label
            else:  # one of the two has no label
                new[truth] = label_document("Classification", label=record.label) if record.label else None
    boxes = (stored.get("ground_truth_boxes") or {}).get("detections") or []
    pairs = [(box.get("bounding_box"), box.get("original_box")) for box in boxes]
    if not any(moved(*pair) for pair in pairs) and _differ([box for _, box in pairs], relative_boxes(record)):
        new["ground_truth_boxes"] = true_boxes_document(record)
    return new


def _differ(old: list[Any], new: list[list[float]]) -> bool:
    return len(old) != len(new) or any(moved(a, b) for a, b in zip(old, new, strict=True))
