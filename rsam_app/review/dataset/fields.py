"""The fields of a run: their names and types."""

from __future__ import annotations

import math
from typing import Any

from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.schema import add_fields
from rsam_app.run.predictions import SCHEMA, SURE

CERTAINTY = ("confidence", "margin", "entropy")
OVERLAP = "iou_with_"
"""Between the keys of two runs: the name of the field with the overlap of their rectangles."""
CHANGE = "change_from_"
"""Between the keys of two runs: the name of the field that says how an image changed between them."""
LOCATED = "located"
"""Behind a run's key: the field with the rectangles that its discovery found with all answers given so far."""
SOFT_MASK = "soft_mask"
"""Column added to the predictions table: the path of each row's soft mask."""

BOX_TOLERANCE = 1e-4
"""Largest change of a relative coordinate with which a box counts as unmoved: a tenth of a pixel in 1,000."""


def score_fields(columns: list[str]) -> list[str]:
    """Return the columns of a predictions table that become float fields: certainty first, then every score."""
    other = (*SCHEMA.names, *SURE.names, SOFT_MASK)
    return [*CERTAINTY, *(name for name in columns if name not in other)]


def workspace_name(key: str) -> str:
    """Name of the workspace for a run's review: its images, the queue, and the histogram of a score."""
    return f"{key} review"


def declare_run(review_set: Any, key: str, columns: list[str]) -> None:
    """Declare the fields of the run `key` for a table with these columns, except those that exist."""
    import fiftyone as fo

    number = {"ftype": fo.FloatField}
    kinds = {"prediction": fo.Classification, "attention": fo.Detections, "rectangle": fo.Polylines}
    if SOFT_MASK in columns:
        kinds[SOFT_MASK] = fo.Heatmap
    fields: dict[str, dict[str, Any]] = {
        name: {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": kind} for name, kind in kinds.items()
    }
    fields |= {f"attention.detections.{name}": number for name in RECTANGLE_FIELDS}
    fields["attention.detections.model_box"] = {"ftype": fo.ListField, "subfield": fo.FloatField}
    fields |= dict.fromkeys(score_fields(columns), number)
    add_fields(review_set, {f"{key}_{name}": details for name, details in fields.items()})


def has_run(review_set: Any, key: str, columns: list[str]) -> bool:
    """Whether every field of the run `key` for a table with these columns exists: none was deleted in FiftyOne."""
    names = ("prediction", "attention", "rectangle", *score_fields(columns))
    return all(review_set.has_sample_field(f"{key}_{name}") for name in names)


def moved(box: list[float] | None, original: list[float] | None) -> bool:
    """Whether the reviewer drew the box (it has no original) or moved it away from its original."""
    if not box:
        return False
    if not original:
        return True
    return any(abs(a - b) > BOX_TOLERANCE for a, b in zip(box, original, strict=True))


def finite(value: float | None) -> float | None:
    """Return `value`, or None if it is not finite: NaN breaks the App's histograms and sliders."""
    return value if value is not None and math.isfinite(value) else None
