"""Rows of predictions written to the samples of their records: whole new samples, or what differs on old ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from rsam_app.data.records import Record
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.compare_and_set import Change, settle
from rsam_app.review.dataset.fields import moved
from rsam_app.review.dataset.record_fields import LATER, Decided
from rsam_app.review.dataset.samples import Samples
from rsam_app.review.writing.documents import Document, base_documents
from rsam_app.review.writing.writers import Direct, ThroughFiftyOne, Writer, run_differs, sample_differs

_SHAPE = ("bounding_box", "model_box", *RECTANGLE_FIELDS, "points", "closed", "filled", "map_path")
OURS = frozenset(("_cls", "label", "confidence", "logits", *_SHAPE))
"""What a run says in a label. All else in it (its id, tags, attributes of hers or of FiftyOne's evaluation) stays."""


def differing(key: str, stored: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the run `key` to be set on a sample that holds `stored`, so that it says `new`.

    Labels keep their ids and her tags; attention that she moved, or drew, stays as it is; further shapes that she put
    beside the model's stay.
    """
    changes = {}
    for field, value in new.items():
        held = stored.get(field)
        if field == f"{key}_attention" and reviewer_edits(held):
            continue
        wanted = _carried(held, value)
        if wanted != held:
            changes[field] = wanted
    return changes


def reviewer_edits(attention: Mapping[str, Any] | None) -> bool:
    """Whether a person moved a box of `attention` (as stored), or drew one there."""
    boxes = (attention or {}).get("detections") or []
    return any(moved(box.get("bounding_box"), box.get("model_box")) for box in boxes)


def _carried(held: Any, new: Any) -> Any:
    for kind in ("detections", "polylines"):
        if any(isinstance(value, dict) and kind in value for value in (held, new)):
            old, ours = (list((value or {}).get(kind) or []) for value in (held, new))
            labels = [_label(*pair) for pair in zip(old, ours, strict=False)] + ours[len(old) :] + old[1:]
            return {**(held or new), kind: labels} if labels else None
    return _label(held, new) if isinstance(held, dict) and isinstance(new, dict) else new


def _label(held: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in held.items() if name not in OURS}
    return {**new, **rest}


class RowWriter:
    """Writes rows of the run `key`, and counts what it did: rows `added`, `updated`, and the `same` as before, and
    rectangles `kept` because a person had moved them.

    One sample of every write is compared with what FiftyOne itself stores. Where that is something else (a later
    FiftyOne), all is written through FiftyOne, and `notes` say so.
    """

    def __init__(self, samples: Samples, key: str, records: dict[str, Record], decided: Decided) -> None:
        self.samples, self.key, self.records, self.decided = samples, key, records, decided
        self.added = self.updated = self.same = self.kept = 0
        self.notes: list[str] = []
        self._way: Writer = Direct(samples.review_set, key, decided)
        self._proved_adding = self._proved_setting = False

    def write(self, rows: pa.RecordBatch) -> None:
        """Write rows whose records exist."""
        ids = rows.column("id").to_pylist()
        there = self.samples.held(ids)
        new = rows.filter(pa.array([record_id not in there for record_id in ids]))
        added = self._add(new)
        self.added += added
        # Where another process added some of them meanwhile, all are looked at: our own new ones differ in nothing.
        old = rows.filter(pa.array([record_id in there for record_id in ids])) if added == len(new) else rows
        if len(old):
            self._update(old, len(rows) - added)

    def _add(self, rows: pa.RecordBatch) -> int:
        """Add samples for these rows; returns how many had none meanwhile."""
        added = 0
        records = [self.records[record_id] for record_id in rows.column("id").to_pylist()]
        if records and not self._proved_adding:
            differs = sample_differs(self.samples.review_set, self.key, self.decided, records[0], rows.slice(0, 1))
            self._proved_adding = self._proved_setting = True
            self._give_way(differs)
            added, records, rows = 1, records[1:], rows.slice(1)
        return added + (self._way.add(records, rows) if records else 0)

    def _update(self, rows: pa.RecordBatch, expected: int) -> None:
        """Set what differs on the samples of these rows, of which `expected` were not written just now."""
        if not self._proved_setting:
            self._give_way(run_differs(self.samples.review_set, self.key, self.decided, rows.slice(0, 1)))
            self._proved_setting = True
        wanted = dict(zip(rows.column("id").to_pylist(), self._way.values(rows), strict=True))
        moved: set[str] = set()
        changed = settle(self.samples.collection, lambda: self._changes(wanted, moved))
        self.kept += len(moved)
        self.updated += changed
        self.same += expected - changed

    def _changes(self, wanted: dict[str, Document], moved: set[str]) -> list[Change]:
        fields = dict.fromkeys(name for values in wanted.values() for name in values)
        held = self.samples.held(list(wanted), [*fields, "metadata", "split", *LATER])
        changes = []
        for record_id, stored in held.items():
            if reviewer_edits(stored.get(f"{self.key}_attention")):
                moved.add(record_id)
            new = self._unfinished(record_id, stored) | differing(self.key, stored, wanted[record_id])
            if new:
                changes.append(Change(stored["_id"], {name: stored.get(name) for name in new}, new))
        return changes

    def _unfinished(self, record_id: str, stored: Document) -> Document:
        """What a sample lacks that an earlier RSAM was stopped at."""
        if stored.get("original_label") is not None:
            return {}
        base = base_documents(self.records[record_id], self.decided)
        lacking = {name: base[name] for name in ("metadata", "split", *LATER) if stored.get(name) is None}
        return {name: value for name, value in lacking.items() if value is not None}

    def _give_way(self, differs: str) -> None:
        import fiftyone as fo

        if differs and isinstance(self._way, Direct):
            self._way = ThroughFiftyOne(self.samples.review_set, self.key, self.decided)
            self.notes.append(
                f"FiftyOne {fo.__version__} stores {differs!r} otherwise than this RSAM expects, so everything is"
                " written through FiftyOne itself, which takes several times as long. A newer RSAM may know it."
            )
