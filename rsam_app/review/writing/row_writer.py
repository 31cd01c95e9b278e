"""Writes rows of predictions to the samples of their records: new samples as a whole, existing ones only in what
differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rsam_app.data.records import Record
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.compare_and_set import Change, insert, now, update
from rsam_app.review.dataset.fields import moved
from rsam_app.review.dataset.fiftyone_internals import dataset_id
from rsam_app.review.dataset.guest import is_guest
from rsam_app.review.dataset.label_documents import Document
from rsam_app.review.dataset.record_fields import Corrections
from rsam_app.review.dataset.samples import Samples
from rsam_app.review.writing.documents import run_documents, sample_document

RUN_ATTRIBUTES = frozenset(
    (
        *("_cls", "label", "confidence", "logits", "bounding_box", "model_box"),
        *(*RECTANGLE_FIELDS, "points", "closed", "filled", "map_path"),
    )
)
"""Attributes of a label that a run sets. All others stay: id, tags, and attributes of the reviewer or of FiftyOne."""


class RowWriter:
    """Writes rows of the run `key` and counts them: `added`, `updated`, `unchanged`, and as `kept` the rectangles that
    the reviewer moved."""

    def __init__(self, samples: Samples, key: str, records: dict[str, Record], corrections: Corrections) -> None:
        self.samples, self.key, self.records, self.corrections = samples, key, records, corrections
        self.without_sample: list[str] = []
        """Ids of records without a sample in a dataset of the user's, to which none is added."""
        self.added = self.updated = self.unchanged = self.kept = 0

    def write(self, rows: pa.RecordBatch) -> None:
        """Write rows whose records exist."""
        ids = rows.column("id").to_pylist()
        stored = self.samples.stored(ids)
        known = pa.array([record_id in stored for record_id in ids], pa.bool_())
        new = rows.filter(pc.invert(known))
        if is_guest(self.samples.review_set):
            self.without_sample += new.column("id").to_pylist()
            if rows := rows.filter(known):
                self._update(rows, len(rows))
            return
        added = self._insert(new)
        self.added += added
        # If another process added some of them in the meantime, all rows are compared: those just added are equal.
        old = rows.filter(known) if added == len(new) else rows
        if len(old):
            self._update(old, len(rows) - added)

    def _insert(self, rows: pa.RecordBatch) -> int:
        """Insert samples for these rows; return how many had none."""
        identifier, at = dataset_id(self.samples.review_set), now()
        records = [self.records[record_id] for record_id in rows.column("id").to_pylist()]
        pairs = zip(records, run_documents(self.key, rows), strict=True)
        documents = [sample_document(record, self.corrections, run, identifier, at) for record, run in pairs]
        return insert(self.samples.collection, documents)

    def _update(self, rows: pa.RecordBatch, expected: int) -> None:
        """Set what differs on the samples of these rows, of which `expected` were not inserted just now."""
        new = dict(zip(rows.column("id").to_pylist(), run_documents(self.key, rows), strict=True))
        kept: set[str] = set()
        changed = update(self.samples.collection, lambda: self._changes(new, kept))
        self.kept += len(kept)
        self.updated += changed
        self.unchanged += expected - changed

    def _changes(self, new: Mapping[str, Document], kept: set[str]) -> list[Change]:
        """Return the changes that are left, and add to `kept` the ids of records whose rectangle was moved."""
        fields = list(dict.fromkeys(name for document in new.values() for name in document))
        changes = []
        for record_id, stored in self.samples.stored(list(new), fields).items():
            if reviewer_edits(stored.get(f"{self.key}_attention")):
                kept.add(record_id)
            if different := differing(self.key, stored, new[record_id]):
                changes.append(Change(stored["_id"], {name: stored.get(name) for name in different}, different))
        return changes


def differing(key: str, stored: Mapping[str, Any], new: Mapping[str, Any]) -> Document:
    """Return the fields of the run `key` to set on a sample that has the fields `stored`.

    Labels keep their ids and tags. Attention that the reviewer moved or drew stays, and so do shapes that the reviewer
    added beside the model's.
    """
    changes = {}
    for field, value in new.items():
        old = stored.get(field)
        if field == f"{key}_attention" and reviewer_edits(old):
            continue
        merged = _merged(old, value)
        if merged != old:
            changes[field] = merged
    return changes


def reviewer_edits(attention: Mapping[str, Any] | None) -> bool:
    """Whether the reviewer moved a box of `attention` (as stored), or drew one."""
    boxes = (attention or {}).get("detections") or []
    return any(moved(box.get("bounding_box"), box.get("model_box")) for box in boxes)


def _merged(old: Any, new: Any) -> Any:
    """The new value with everything of the old one that the run does not set."""
    for kind in ("detections", "polylines"):
        if any(isinstance(value, dict) and kind in value for value in (old, new)):
            before, after = (list((value or {}).get(kind) or []) for value in (old, new))
            labels = [_merged_label(*pair) for pair in zip(before, after, strict=False)]
            labels += after[len(before) :] + before[1:]
            return {**(old or new), kind: labels} if labels else None
    return _merged_label(old, new) if isinstance(old, dict) and isinstance(new, dict) else new


def _merged_label(old: Document, new: Document) -> Document:
    return {**new, **{name: value for name, value in old.items() if name not in RUN_ATTRIBUTES}}
