"""What FiftyOne stores, built without its objects: documents of MongoDB, equal to its own to the last byte.

FiftyOne makes, checks and tracks an object for every label before it stores a plain document, which is most of the time
that writing takes. `review.probe` compares the first sample of every write with what FiftyOne stores itself.
"""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import bson
import numpy as np
import pyarrow as pa
from bson import ObjectId

from rsam_app.data.records import Record
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.fields import SOFT_MASK, finite, score_fields
from rsam_app.review.dataset.record_fields import Decided, base_values, true_boxes

Document = dict[str, Any]

_place_in_shuffle = random.Random()


def sample_document(record: Record, decided: Decided, run: Document, dataset_id: ObjectId, now: datetime) -> Document:
    """A whole sample, to be inserted: the record, what was `decided` about it before, and the fields of a `run`.

    `now` is the time in UTC without a zone, as FiftyOne keeps it.
    """
    values = {**base_documents(record, decided), **run}
    metadata = values.pop("metadata")
    path = values.pop("filepath")
    head = {"filepath": path, "tags": [], "metadata": metadata, "_media_type": _media_type(record.path.suffix)}
    head["_rand"] = 0.999 + 0.001 * _place_in_shuffle.random()
    tail = {"_dataset_id": dataset_id, "created_at": now, "last_modified_at": now}
    return {name: value for name, value in {**head, **values, **tail}.items() if value is not None}


def base_documents(record: Record, decided: Decided) -> Document:
    """The fields of a sample that do not depend on a run; None where it has nothing there."""
    values = base_values(record, decided)
    size = {"_cls": "ImageMetadata", "width": record.width, "height": record.height}
    boxes = [
        _label("Detection", label=record.label or None, bounding_box=box, original_box=list(box))
        for box in values["ground_truth_boxes"] or ()
    ]
    target = values["attention_target"]
    return values | {
        "metadata": size if record.width else None,
        "ground_truth": _label("Classification", label=values["ground_truth"]) if values["ground_truth"] else None,
        "ground_truth_boxes": _listed("Detections", boxes),
        "attention_target": None if target is None else target.to_dict(),
    }


def run_documents(key: str, rows: pa.RecordBatch) -> list[Document]:
    """The fields of the run `key` for each row of a predictions table: `objects.run_objects`, as they are stored."""
    table = rows.select([name for name in rows.schema.names if name != "logits"]).to_pylist()
    scores = [(name, f"{key}_{name}") for name in score_fields(rows.schema.names)]
    documents = []
    for row, logits in zip(table, _logits(rows), strict=True):
        label, confidence = row["predicted"], finite(row["confidence"])
        document: Document = {
            f"{key}_prediction": _prediction(label, confidence, logits),
            f"{key}_attention": _attention(label, confidence, row),
            f"{key}_rectangle": _rectangle(label, confidence, row["corners"]),
        }
        if path := row.get(SOFT_MASK):
            document[f"{key}_{SOFT_MASK}"] = {**_label("Heatmap", map_path=path), "range": None}
        elif SOFT_MASK in row:
            document[f"{key}_{SOFT_MASK}"] = None
        for name, field in scores:
            document[field] = finite(row[name])
        documents.append(document)
    return documents


def _prediction(label: str | None, confidence: float | None, logits: bytes | None) -> Document | None:
    return None if label is None else _label("Classification", label=label, confidence=confidence, logits=logits)


def _attention(label: str, confidence: float | None, row: Document) -> Document | None:
    box, five = row["box"], {name: row[name] for name in RECTANGLE_FIELDS}
    if box is None or None in five.values():
        return None
    detection = _label("Detection", label=label, bounding_box=box, confidence=confidence, model_box=list(box), **five)
    return _listed("Detections", [detection])


def _rectangle(label: str, confidence: float | None, corners: list[float] | None) -> Document | None:
    if corners is None:
        return None
    points = [[list(point) for point in zip(corners[0::2], corners[1::2], strict=True)]]
    return _listed(
        "Polylines", [_label("Polyline", label=label, points=points, confidence=confidence, closed=True, filled=True)]
    )


def _label(kind: str, **values: Any) -> Document:
    """A label with an id of its own and no tags; what is None is not stored."""
    head: Document = {"_id": ObjectId(), "_cls": kind}
    if kind in ("Detection", "Polyline"):
        head["attributes"] = {}
    return {**head, "tags": [], **{name: value for name, value in values.items() if value is not None}}


def _listed(kind: str, labels: list[Document]) -> Document | None:
    return {"_cls": kind, kind.lower(): labels} if labels else None


def _logits(rows: pa.RecordBatch) -> Iterator[bytes | None]:
    """Each row's logits as FiftyOne stores an array: NumPy's file format, compressed."""
    column = rows.column("logits")
    values = column.values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    offsets, missing = column.offsets.to_numpy(), column.is_null().to_numpy(zero_copy_only=False)
    for start, end, absent in zip(offsets[:-1], offsets[1:], missing, strict=True):
        yield None if absent else zlib.compress(_header(int(end - start)) + values[start:end].tobytes())


@cache
def _header(length: int) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(length, dtype=np.float32))
    return stream.getvalue()[: -4 * length or None]


@cache
def _media_type(suffix: str) -> str:
    from fiftyone.core.media import get_media_type

    return str(get_media_type(f"image{suffix}"))


def sample_object(record: Record, decided: Decided, run: dict[str, Any]) -> Any:
    """A whole sample: the record, what was `decided` about it before, and the fields of a `run`."""
    import fiftyone as fo

    values = base_values(record, decided)
    values["metadata"] = fo.ImageMetadata(width=record.width, height=record.height) if record.width else None
    values["ground_truth"] = fo.Classification(label=values["ground_truth"]) if values["ground_truth"] else None
    values["ground_truth_boxes"] = true_boxes(record) if values["ground_truth_boxes"] else None
    return fo.Sample(**{name: value for name, value in {**values, **run}.items() if value is not None})


def run_objects(key: str, rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """The fields of the run `key` for each row of a predictions table.

    A row without a rectangle has None for attention and rectangle; a score that is not finite is None.
    """
    import fiftyone as fo

    found = []
    for row in rows.to_pylist():
        label, confidence = row["predicted"], finite(row["confidence"])
        values = {
            f"{key}_prediction": prediction_label(label, confidence, row["logits"]),
            f"{key}_attention": attention_label(
                label, confidence, row["box"], [row[name] for name in RECTANGLE_FIELDS]
            ),
            f"{key}_rectangle": rectangle_label(label, confidence, row["corners"]),
        }
        if SOFT_MASK in row:
            values[f"{key}_{SOFT_MASK}"] = fo.Heatmap(map_path=row[SOFT_MASK]) if row[SOFT_MASK] else None
        scores = {f"{key}_{name}": finite(row[name]) for name in score_fields(rows.schema.names)}
        found.append(values | scores)
    return found


def as_stored(review_set: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Values of fields as FiftyOne's `set_values` would store them."""
    return plain(
        {name: None if value is None else review_set.get_field(name).to_mongo(value) for name, value in values.items()}
    )


def plain(document: dict[str, Any]) -> dict[str, Any]:
    """A document as it is read back from the database."""
    return dict(bson.decode(bson.encode(document)))


def prediction_label(label: str | None, confidence: float | None, logits: Any) -> Any:
    """A Classification; None without a label. `logits` `(C,)` or None."""
    import fiftyone as fo

    if label is None:
        return None
    array = None if logits is None else np.asarray(logits, dtype=np.float32)
    return fo.Classification(label=label, confidence=confidence, logits=array)


def attention_label(
    label: str, confidence: float | None, box: list[float] | None, geometry: Sequence[float | None]
) -> Any:
    """Detections with the relative upright `box` around a rectangle and its five numbers; None where one is missing."""
    import fiftyone as fo

    if box is None or None in geometry:
        return None
    five = dict(zip(RECTANGLE_FIELDS, geometry, strict=True))
    detection = fo.Detection(label=label, bounding_box=box, confidence=confidence, model_box=list(box), **five)
    return fo.Detections(detections=[detection])


def rectangle_label(label: str, confidence: float | None, corners: list[float] | None) -> Any:
    """Polylines with a rectangle's eight relative corner numbers, closed and filled; None without them."""
    import fiftyone as fo

    if corners is None:
        return None
    points = [list(zip(corners[0::2], corners[1::2], strict=True))]
    polyline = fo.Polyline(label=label, points=points, confidence=confidence, closed=True, filled=True)
    return fo.Polylines(polylines=[polyline])
