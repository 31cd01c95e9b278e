"""The fields of one run: what each is called, and how rows of the predictions table become their values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rsam_app.predictions import SCHEMA
from rsam_app.review.dataset import add_field

CERTAINTY = ("confidence", "margin", "entropy")
GEOMETRY = ("cx", "cy", "width", "height", "angle")
LABELS = ("prediction", "attention", "rectangle")

TOLERANCE = 1e-4
"""A box is moved where one of its four relative numbers differs by more (a tenth of a pixel in 1,000)."""


def score_fields(columns: list[str]) -> list[str]:
    """Columns of a predictions table that become float fields: how certain the model was, then every score."""
    return [*CERTAINTY, *(name for name in columns if name not in SCHEMA.names)]


def declare_run(review_set: Any, key: str, columns: list[str]) -> None:
    """Declare the fields of the run `key` for a table with these columns; those that exist stay."""
    import fiftyone as fo

    label = fo.EmbeddedDocumentField
    add_field(review_set, f"{key}_prediction", label, embedded_doc_type=fo.Classification)
    add_field(review_set, f"{key}_attention", label, embedded_doc_type=fo.Detections)
    add_field(review_set, f"{key}_rectangle", label, embedded_doc_type=fo.Polylines)
    for name in GEOMETRY:
        add_field(review_set, f"{key}_attention.detections.{name}", fo.FloatField)
    add_field(review_set, f"{key}_attention.detections.model_box", fo.ListField, subfield=fo.FloatField)
    for name in score_fields(columns):
        add_field(review_set, f"{key}_{name}", fo.FloatField)


def run_values(key: str, rows: pa.RecordBatch) -> Iterator[tuple[str, list[Any]]]:
    """Field name and its values in row order, one field after another, so that one list is alive at a time.

    A row without a rectangle has None for attention and rectangle; a score that is not finite is None.
    """
    columns = {n: rows.column(n).to_pylist() for n in ("predicted", "confidence", "corners", "box", *GEOMETRY)}
    predicted, confidence = columns["predicted"], [_finite(v) for v in columns["confidence"]]
    logits = [_logits(v) for v in rows.column("logits").to_pylist()]
    yield f"{key}_prediction", [_classification(*v) for v in zip(predicted, confidence, logits, strict=True)]
    geometry = zip(*(columns[name] for name in GEOMETRY), strict=True)
    attention = zip(predicted, confidence, columns["box"], geometry, strict=True)
    yield f"{key}_attention", [_detections(*v) for v in attention]
    yield f"{key}_rectangle", [_polylines(*v) for v in zip(predicted, confidence, columns["corners"], strict=True)]
    for name in score_fields(rows.schema.names):
        yield f"{key}_{name}", [_finite(v) for v in rows.column(name).to_pylist()]


def moved(box: list[float] | None, original: list[float] | None) -> bool:
    """Whether a person drew the box (it has no original) or moved it away from its original."""
    if not box:
        return False
    if not original:
        return True
    return any(abs(a - b) > TOLERANCE for a, b in zip(box, original, strict=True))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _logits(values: list[float] | None) -> np.ndarray | None:
    return None if values is None else np.asarray(values, dtype=np.float32)


def _classification(label: str | None, confidence: float | None, logits: np.ndarray | None) -> Any:
    import fiftyone as fo

    return None if label is None else fo.Classification(label=label, confidence=confidence, logits=logits)


def _detections(
    label: str, confidence: float | None, box: list[float] | None, geometry: tuple[float | None, ...]
) -> Any:
    import fiftyone as fo

    if box is None or None in geometry:
        return None
    five = dict(zip(GEOMETRY, geometry, strict=True))
    detection = fo.Detection(label=label, bounding_box=box, confidence=confidence, model_box=list(box), **five)
    return fo.Detections(detections=[detection])


def _polylines(label: str, confidence: float | None, corners: list[float] | None) -> Any:
    import fiftyone as fo

    if corners is None:
        return None
    points = [list(zip(corners[0::2], corners[1::2], strict=True))]
    polyline = fo.Polyline(label=label, points=points, confidence=confidence, closed=True, filled=True)
    return fo.Polylines(polylines=[polyline])
