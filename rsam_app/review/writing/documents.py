"""MongoDB documents of a run's fields, and of whole new samples."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from rsam_app.data.records import Record
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.fields import SOFT_MASK, finite, score_fields
from rsam_app.review.dataset.label_documents import Document, label_document, list_document
from rsam_app.review.dataset.record_fields import Corrections, record_document


def sample_document(
    record: Record, corrections: Corrections, run: Document, dataset_id: Any, now: datetime
) -> Document:
    """Return a whole new sample: the record with the earlier `corrections`, and the fields of a `run`.

    `now` is in UTC without a zone, as FiftyOne stores it.
    """
    own = {"filepath": str(record.path.resolve()), "_rand": random.uniform(0.999, 1)}  # FiftyOne shuffles by it
    values = {**_empty_sample(), **own, **record_document(record, corrections), **run}
    stored = {name: value for name, value in values.items() if value is not None}
    return {**stored, "_dataset_id": dataset_id, "created_at": now, "last_modified_at": now}


@functools.cache
def _empty_sample() -> Document:
    """The document of a sample without values. FiftyOne makes one, as it takes seconds for ten thousand."""
    import fiftyone as fo

    return dict(fo.Sample(filepath="/image.png").to_mongo_dict())


def run_documents(key: str, rows: pa.RecordBatch) -> list[Document]:
    """Return the fields of the run `key` for each row of a predictions table.

    A row without a rectangle has None for attention and rectangle; a score that is not finite is None.
    """
    table = rows.select([name for name in rows.schema.names if name != "logits"]).to_pylist()
    scores = [(name, f"{key}_{name}") for name in score_fields(rows.schema.names)]
    documents = []
    for row, logits in zip(table, rows.column("logits").to_numpy(zero_copy_only=False), strict=True):
        label, confidence = row["predicted"], finite(row["confidence"])
        rectangle = [row[name] for name in RECTANGLE_FIELDS]
        document: Document = {
            f"{key}_prediction": prediction_document(label, confidence, logits),
            f"{key}_attention": attention_document(label, confidence, row["box"], rectangle),
            f"{key}_rectangle": rectangle_document(label, confidence, row["corners"]),
        }
        if SOFT_MASK in row:
            path = row[SOFT_MASK]
            document[f"{key}_{SOFT_MASK}"] = label_document("Heatmap", map_path=path) if path else None
        document |= {field: finite(row[name]) for name, field in scores}
        documents.append(document)
    return documents


def prediction_document(label: str | None, confidence: float | None, logits: np.ndarray | None) -> Document | None:
    """Return a Classification with `logits` `(C,)`; None without a label."""
    if label is None:
        return None
    array = None if logits is None else np.asarray(logits, dtype=np.float32)
    return label_document("Classification", label=label, confidence=confidence, logits=array)


def attention_document(
    label: str | None, confidence: float | None, box: list[float] | None, rectangle: Sequence[float | None]
) -> Document | None:
    """Return Detections with the relative upright `box` around a rectangle (image pixels, radians) and its five numbers
    as attributes; None if a number is missing."""
    if box is None or None in rectangle:
        return None
    five = dict(zip(RECTANGLE_FIELDS, rectangle, strict=True))
    detection = label_document(
        "Detection", label=label, bounding_box=box, confidence=confidence, model_box=list(box), **five
    )
    return list_document("Detections", [detection])


def rectangle_document(label: str | None, confidence: float | None, corners: list[float] | None) -> Document | None:
    """Return Polylines with a rectangle's eight relative corner numbers, closed and filled; None without them."""
    if corners is None:
        return None
    points = [[list(point) for point in zip(corners[0::2], corners[1::2], strict=True)]]
    polyline = label_document("Polyline", label=label, points=points, confidence=confidence, closed=True, filled=True)
    return list_document("Polylines", [polyline])
