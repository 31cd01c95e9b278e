"""Samples: one per record. Reads what they hold, and lets them follow the dataset's files without touching what a
person changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from rsam_app.data.records import Dataset, Record
from rsam_app.review.dataset.compare_and_set import Change, settle
from rsam_app.review.dataset.fields import moved
from rsam_app.review.dataset.record_fields import relative_boxes, true_boxes
from rsam_app.review.dataset.schema import memory, remember

CHUNK = 2000
Item = TypeVar("Item")


class Samples:
    """The samples of records, as the database has them now. Nothing is held here, so memory does not grow with them."""

    def __init__(self, review_set: Any) -> None:
        self.review_set = review_set
        self.collection = review_set._sample_collection
        self.none_before = self.collection.find_one({}, {"_id": 1}) is None

    def held(self, record_ids: Sequence[str], fields: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """What the samples of these records hold in some fields, by record id, as stored."""
        wanted = dict.fromkeys(("record_id", *fields), 1)
        found = self.collection.find({"record_id": {"$in": list(record_ids)}}, wanted)
        return {document["record_id"]: document for document in found}

    def vanished(self, records: dict[str, Record]) -> set[str]:
        """Ids of records that have a sample but are no longer in the dataset."""
        found = self.collection.find({"record_id": {"$type": "string"}}, {"record_id": 1, "_id": 0})
        return {document["record_id"] for document in found if document["record_id"] not in records}

    def follow(self, dataset: Dataset) -> int:
        """Let samples follow changed files: path, size, split, true boxes, and the label unless a person edited it.

        Returns how many samples changed. Nothing is read where the dataset is as it was the last time.
        """
        now = _fingerprint(dataset)
        if memory(self.review_set).get("records") == now:
            return 0
        changed = 0
        if not self.none_before:
            for records in chunks(dataset.records, CHUNK):
                changed += settle(self.collection, lambda: self._behind(records))  # noqa: B023 (settled at once)
        remember(self.review_set, records=now)
        return changed

    def _behind(self, records: Sequence[Record]) -> list[Change]:
        fields = ("filepath", "metadata", "split", "ground_truth", "original_label", "decided_kinds")
        held = self.held([r.id for r in records], (*fields, "ground_truth_boxes"))
        changes = []
        for record in (r for r in records if r.id in held):
            new = _followed(record, held[record.id])
            if new:
                seen = {field: held[record.id].get(field) for field in ("ground_truth", *new) if "." not in field}
                changes.append(Change(held[record.id]["_id"], seen, new))
        return changes


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """`items` in slices of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _followed(record: Record, held: dict[str, Any]) -> dict[str, Any]:
    """What must be set on the sample of a record so that it says what the files say now."""
    import fiftyone as fo

    new: dict[str, Any] = {}
    metadata, label = held.get("metadata") or {}, (held.get("ground_truth") or {}).get("label")
    if held.get("filepath") != str(record.path.resolve()):
        new["filepath"] = str(record.path.resolve())
    if record.width and (metadata.get("width"), metadata.get("height")) != (record.width, record.height):
        new["metadata"] = fo.ImageMetadata(width=record.width, height=record.height).to_dict()
    if held.get("split") != record.split:
        new["split"] = record.split
    if held.get("original_label") != record.label:
        new["original_label"] = record.label
        if (label or "") == (held.get("original_label") or "") and "label" not in (held.get("decided_kinds") or []):
            if label and record.label:
                new["ground_truth.label"] = record.label
            else:  # it had none, or has none any more
                new["ground_truth"] = fo.Classification(label=record.label).to_dict() if record.label else None
    true = (held.get("ground_truth_boxes") or {}).get("detections") or []
    pairs = [(box.get("bounding_box"), box.get("original_box")) for box in true]
    files = relative_boxes(record)
    if not any(moved(*pair) for pair in pairs) and _differ([original for _, original in pairs], files):
        new["ground_truth_boxes"] = true_boxes(record).to_dict()
    return new


def _differ(old: list[Any], new: list[list[float]]) -> bool:
    return len(old) != len(new) or any(moved(a, b) for a, b in zip(old, new, strict=True))


def _fingerprint(dataset: Dataset) -> str:
    digest = hashlib.sha256(dataset.fingerprint.encode())
    for record in dataset.records:
        digest.update(str(record.path).encode())
    return digest.hexdigest()
