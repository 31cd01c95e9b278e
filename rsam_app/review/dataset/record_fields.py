"""Sample fields that come from the record and from earlier corrections, not from a run."""

from __future__ import annotations

from rsam_app.data.records import Record
from rsam_app.geometry.boxes import relative_box
from rsam_app.geometry.types import Rectangle
from rsam_app.review.dataset.label_documents import Document, label_document, list_document
from rsam_app.review.dataset.schema import JUDGED_PLACE
from rsam_app.review.dataset.targets import as_target
from rsam_app.run.corrections import Correction, parse_place
from rsam_app.system.json_files import parse_json

Corrections = dict[tuple[str, str], Correction]
"""Corrections in force, by record id and kind of decision."""


def record_document(record: Record, corrections: Corrections) -> Document:
    """Return the fields of a record's new sample; None if there is no value."""
    kinds = [kind for kind in ("label", "rectangle", "exclude", "place") if (record.id, kind) in corrections]
    label = corrections[record.id, "label"].after if "label" in kinds else record.label
    return {
        "metadata": metadata_document(record) if record.width else None,
        "record_id": record.id,
        "split": record.split,
        "ground_truth": label_document("Classification", label=label) if label else None,
        "ground_truth_boxes": true_boxes_document(record) if relative_boxes(record) else None,
        "attention_target": _target(record, corrections),
        "review": _mark(corrections, record),
        JUDGED_PLACE: _place(corrections, record) or None,
        "decided_kinds": kinds or None,
        "original_label": record.label,
    }


def metadata_document(record: Record) -> Document:
    """Return the size of the record's image as FiftyOne's metadata."""
    return label_document("ImageMetadata", width=record.width, height=record.height)


def relative_boxes(record: Record) -> list[list[float]]:
    """Return the record's true boxes as relative `x, y, width, height`, clipped to the image; none without a size."""
    if not record.width or not record.height:
        return []
    return [relative_box(x, y, x + w, y + h, (record.width, record.height)) for x, y, w, h in record.boxes]


def true_boxes_document(record: Record) -> Document:
    """Return the record's true boxes as Detections."""
    boxes = [
        label_document("Detection", label=record.label or None, bounding_box=box, original_box=list(box))
        for box in relative_boxes(record)
    ]
    return list_document("Detections", boxes)


def _is_in_force(corrections: Corrections, record: Record, kind: str) -> bool:
    correction = corrections.get((record.id, kind))
    return bool(correction and correction.after not in ("", "false"))


def _mark(corrections: Corrections, record: Record) -> str | None:
    if _is_in_force(corrections, record, "exclude"):
        return "exclude"
    place = _place(corrections, record)
    return mark_of_place(place, record.id) if place else None


def _place(corrections: Corrections, record: Record) -> str:
    place = corrections.get((record.id, "place"))
    return place.after if place else ""


def mark_of_place(place: str, record_id: str) -> str:
    """Return the mark that says what an answer about a rectangle says."""
    return "right" if parse_place(place, record_id)[0] else "wrong place"


def _target(record: Record, corrections: Corrections) -> Document | None:
    if not record.width or not _is_in_force(corrections, record, "rectangle"):
        return None
    rectangle = Rectangle(*parse_json(corrections[record.id, "rectangle"].after))
    return dict(as_target(rectangle, record.width, record.height).to_dict())
