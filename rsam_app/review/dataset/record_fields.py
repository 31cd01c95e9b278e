"""What a sample says about its record, whatever run is shown with it."""

from __future__ import annotations

import json
from typing import Any

from rsam_app.data.records import Record
from rsam_app.geometry.boxes import relative_box
from rsam_app.geometry.types import Rectangle
from rsam_app.review.dataset.targets import as_target
from rsam_app.run.corrections import Correction

Decided = dict[tuple[str, str], Correction]
"""What was decided before, by record id and kind of decision."""
LATER = ("ground_truth", "ground_truth_boxes", "attention_target", "review", "decided_kinds", "original_label")
"""Fields that a sample lacks which an interrupted write of an earlier RSAM left unfinished."""


def base_values(record: Record, decided: Decided) -> dict[str, Any]:
    """Field by field; None where there is nothing. Labels by their names, the target as FiftyOne's object."""
    kinds = [kind for kind in ("label", "rectangle", "exclude") if (record.id, kind) in decided]
    label = decided[record.id, "label"].after if "label" in kinds else record.label
    return {
        "filepath": str(record.path.resolve()),
        "metadata": (record.width, record.height) if record.width else None,
        "record_id": record.id,
        "split": record.split,
        "ground_truth": label or None,
        "ground_truth_boxes": relative_boxes(record) or None,
        "attention_target": _target(decided, record),
        "review": "exclude" if _in_force(decided, record, "exclude") else None,
        "decided_kinds": kinds or None,
        "original_label": record.label,
    }


def relative_boxes(record: Record) -> list[list[float]]:
    """The record's true boxes as `x, y, width, height` relative to the image, clipped to it; none without a size."""
    if not record.width or not record.height:
        return []
    return [relative_box(x, y, x + w, y + h, (record.width, record.height)) for x, y, w, h in record.boxes]


def true_boxes(record: Record) -> Any:
    """The record's true boxes as FiftyOne shows them."""
    import fiftyone as fo

    boxes = relative_boxes(record)
    found = [fo.Detection(label=record.label or None, bounding_box=box, original_box=list(box)) for box in boxes]
    return fo.Detections(detections=found)


def _in_force(decided: Decided, record: Record, kind: str) -> bool:
    held = decided.get((record.id, kind))
    return bool(held and held.after not in ("", "false"))


def _target(decided: Decided, record: Record) -> Any:
    if not record.width or not _in_force(decided, record, "rectangle"):
        return None
    return as_target(Rectangle(*json.loads(decided[record.id, "rectangle"].after)), record.width, record.height)
