"""Samples and a run's fields as FiftyOne's own objects: what `review.documents` must equal as stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bson
import numpy as np
import pyarrow as pa

from rsam_app.data.records import Record
from rsam_app.review.fields import GEOMETRY, SOFT_MASK, finite, score_fields
from rsam_app.review.recorded import Decided, base_values, true_boxes


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
            f"{key}_attention": attention_label(label, confidence, row["box"], [row[name] for name in GEOMETRY]),
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
    five = dict(zip(GEOMETRY, geometry, strict=True))
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
