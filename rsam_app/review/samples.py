"""Samples: one per record. Adds those that are missing, and lets the others follow the data set's files without
touching what a person changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from rsam_app.corrections import Correction
from rsam_app.data.records import Box, DataSet, Record
from rsam_app.errors import UserError
from rsam_app.review.dataset import memory, remember
from rsam_app.review.fields import moved
from rsam_app.review.targets import as_target

CHUNK = 2000
Item = TypeVar("Item")
Decided = dict[tuple[str, str], Correction]


class Samples:
    """Which sample belongs to which record, held while a run is written."""

    def __init__(self, review_set: Any) -> None:
        self.review_set = review_set
        self.id_of: dict[str, str] = {}
        self.unfinished: set[str] = set()
        """Records whose sample an interrupted write left without its label."""
        found = zip(*review_set.values(["record_id", "id", "original_label"]), strict=True)
        for record_id, sample_id, original in found:
            if record_id is not None:
                self.id_of[record_id] = sample_id
                if original is None:
                    self.unfinished.add(record_id)

    def vanished(self, dataset: DataSet) -> list[str]:
        """Ids of records that have a sample but are no longer in the data set."""
        return sorted(self.id_of.keys() - {r.id for r in dataset.records})

    def set(self, field: str, values: dict[str, Any]) -> None:
        """Set a field of some records at once; `values` by record id."""
        if values:
            by_sample = {self.id_of[record_id]: value for record_id, value in values.items()}
            self.review_set.set_values(field, by_sample, key_field="id", validate=False, expand_schema=False)

    def get(self, record_ids: Sequence[str], fields: list[str]) -> dict[str, tuple[Any, ...]]:
        """Values of some fields by record id, as the database has them now."""
        chosen = self.review_set.select([self.id_of[r] for r in record_ids if r in self.id_of])
        return {row[0]: row[1:] for row in zip(*chosen.values(["record_id", *fields]), strict=True)}

    def add(self, records: Sequence[Record], decided: Decided) -> int:
        """Add a sample for each record that has none, with what was `decided` about it before; returns how many."""
        missing = list({r.id: r for r in records if r.id not in self.id_of}.values())
        self._insert(missing)
        new = missing + [r for r in records if r.id in self.unfinished]
        self._fill(new, decided)
        self.unfinished.difference_update(r.id for r in new)
        return len(missing)

    def _insert(self, records: Sequence[Record]) -> None:
        import fiftyone as fo

        if not records:
            return
        # A method of its own: as long as Sample objects live, `set_values` reloads each of them, one query a sample and
        # field (83 s instead of 8 s for 3,000 samples).
        bare = [fo.Sample(filepath=str(r.path.resolve()), record_id=r.id) for r in records]
        try:
            ids = self.review_set.add_samples(bare, validate=False, expand_schema=False, progress=False)
        except ValueError as error:
            raise UserError(
                f"FiftyOne data set {self.review_set.name!r}: another process is adding the same images ({error}).\n"
                "Wait for it to end, then run `rsam review` again."
            ) from error
        self.id_of.update(zip((r.id for r in records), ids, strict=True))

    def _fill(self, records: Sequence[Record], decided: Decided) -> None:
        import fiftyone as fo

        labels = {r.id: decided[r.id, "label"].after if (r.id, "label") in decided else r.label for r in records}
        targets = {r.id: _target(decided, r) for r in records if r.width and _in_force(decided, r, "rectangle")}
        kinds = {r.id: [k for k in ("label", "rectangle", "exclude") if (r.id, k) in decided] for r in records}
        self.set("metadata", {r.id: fo.ImageMetadata(width=r.width, height=r.height) for r in records if r.width})
        self.set("split", {r.id: r.split for r in records})
        self.set("ground_truth", {r.id: fo.Classification(label=labels[r.id]) for r in records})
        self.set("ground_truth_boxes", {r.id: true_boxes(r) for r in records if r.boxes})
        self.set("attention_target", targets)
        self.set("review", {r.id: "exclude" for r in records if _in_force(decided, r, "exclude")})
        self.set("decided_kinds", {record_id: found for record_id, found in kinds.items() if found})
        self.set("original_label", {r.id: r.label for r in records})  # last: it says that the sample is finished

    def follow(self, dataset: DataSet) -> int:
        """Let samples follow changed files: path, size, split, true boxes, and the label unless a person edited it.

        Returns how many samples changed. Nothing is read where the data set is as it was the last time.
        """
        now = _fingerprint(dataset)
        if memory(self.review_set).get("records") == now:
            return 0
        changed = 0
        for records in chunks([r for r in dataset.records if r.id in self.id_of], CHUNK):
            changed += self._follow(records)
        remember(self.review_set, records=now)
        return changed

    def _follow(self, records: Sequence[Record]) -> int:
        import fiftyone as fo

        names = ["filepath", "metadata.width", "metadata.height", "split", "ground_truth.label", "original_label"]
        boxes = [
            "decided_kinds",
            "ground_truth_boxes.detections.bounding_box",
            "ground_truth_boxes.detections.original_box",
        ]
        held = self.get([r.id for r in records], [*names, *boxes])
        updates: dict[str, dict[str, Any]] = {}
        for record in (r for r in records if r.id in held):
            path, width, height, split, label, original, kinds, drawn, true = held[record.id]
            new: dict[str, Any] = {}
            if path != str(record.path.resolve()):
                new["filepath"] = str(record.path.resolve())
            if record.width and (width, height) != (record.width, record.height):
                new["metadata"] = fo.ImageMetadata(width=record.width, height=record.height)
            if split != record.split:
                new["split"] = record.split
            if original != record.label:
                new["original_label"] = record.label
                if label == original and "label" not in (kinds or []):
                    new["ground_truth.label"] = record.label
            hers = any(moved(*pair) for pair in zip(drawn or [], true or [], strict=True))
            if not hers and _differ(true or [], relative_boxes(record)):
                new["ground_truth_boxes"] = true_boxes(record)
            for field, value in new.items():
                updates.setdefault(field, {})[record.id] = value
        for field, values in updates.items():
            self.set(field, values)
        return len({record_id for values in updates.values() for record_id in values})


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """`items` in slices of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def relative_boxes(record: Record) -> list[list[float]]:
    """The record's true boxes as `x, y, width, height` relative to the image, clipped to it; none without a size."""
    if not record.width or not record.height:
        return []
    return [_relative(box, record.width, record.height) for box in record.boxes]


def true_boxes(record: Record) -> Any:
    """The record's true boxes as FiftyOne shows them."""
    import fiftyone as fo

    boxes = relative_boxes(record)
    found = [fo.Detection(label=record.label, bounding_box=box, original_box=list(box)) for box in boxes]
    return fo.Detections(detections=found)


def _relative(box: Box, width: int, height: int) -> list[float]:
    left, top = max(box[0], 0.0) / width, max(box[1], 0.0) / height
    right, bottom = min(box[0] + box[2], width) / width, min(box[1] + box[3], height) / height
    return [left, top, max(right - left, 0.0), max(bottom - top, 0.0)]


def _differ(old: list[list[float]], new: list[list[float]]) -> bool:
    return len(old) != len(new) or any(moved(a, b) for a, b in zip(old, new, strict=True))


def _in_force(decided: Decided, record: Record, kind: str) -> bool:
    held = decided.get((record.id, kind))
    return bool(held and held.after not in ("", "false"))


def _target(decided: Decided, record: Record) -> Any:
    cx, cy, width, height, angle = json.loads(decided[record.id, "rectangle"].after)
    return as_target((cx, cy, width, height, angle), record.width, record.height)


def _fingerprint(dataset: DataSet) -> str:
    digest = hashlib.sha256(dataset.fingerprint.encode())
    for record in dataset.records:
        digest.update(str(record.path).encode())
    return digest.hexdigest()
