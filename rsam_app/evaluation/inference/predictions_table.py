"""The predictions table, scores included, from a model's outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from scipy.special import softmax

from rsam_app.data.records import Dataset, Record, class_number
from rsam_app.evaluation.inference.run_model import Outputs
from rsam_app.evaluation.inference.score_columns import Habits, score_columns
from rsam_app.evaluation.scores.label_quality import label_quality
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.run.predictions import SCHEMA


def predictions_table(
    outputs: Outputs,
    records: Sequence[Record],
    dataset: Dataset,
    learned: np.ndarray | None = None,
    habits: Habits = None,
) -> tuple[pa.Table, dict[str, str]]:
    """Return the predictions table of `records` from their `outputs`, and the reason for each missing score, by name.

    Score columns are those of `rsam_app.evaluation.scores`. `label_quality` comes from the `learned` probabilities
    `(N, C)`, averaged over training, for rows that have them, else from the model's own. `unusual_geometry` compares
    with `habits`: those of the training split's rectangles, or `own` if `records` are that split.
    """
    probabilities = softmax(outputs.logits.astype(np.float64), axis=1)
    columns = {
        "id": [r.id for r in records],
        "path": [str(r.path) for r in records],
        "split": [r.split for r in records],
        "label": [r.label or None for r in records],
        "predicted": [dataset.classes[i] for i in probabilities.argmax(axis=1)],
        **confidence_columns(probabilities),
        "logits": list(outputs.logits),
        **_rectangle_columns(outputs.rectangles, records),
    }
    arrays = [pa.array(columns[f.name], type=f.type, from_pandas=True) for f in SCHEMA]
    labels = np.array([class_number(r, dataset.class_index) for r in records], dtype=np.int64)
    scores, absent = score_columns(outputs, records, labels, habits)
    if learned is not None:
        known = ~np.isnan(learned).any(axis=1)
        probabilities = np.where(known[:, None], learned, probabilities)
    scores["label_quality"] = label_quality(probabilities, labels)
    table = pa.Table.from_arrays(arrays, schema=SCHEMA)
    for name, values in scores.items():
        table = table.append_column(name, pa.array(values, type=pa.float32(), from_pandas=True))
    return table, absent


def confidence_columns(probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """The columns `confidence`, `margin` and `entropy`, each `(N,)`, of probabilities `(N, C)`."""
    ranked = np.sort(probabilities, axis=1)[:, ::-1]
    second = ranked[:, 1] if ranked.shape[1] > 1 else np.zeros(len(ranked))
    safe = np.where(probabilities > 0, probabilities, 1.0)
    return {
        "confidence": ranked[:, 0],
        "margin": ranked[:, 0] - second,
        "entropy": -(probabilities * np.log(safe)).sum(axis=1),
    }


def _rectangle_columns(rectangles: np.ndarray, records: Sequence[Record]) -> dict[str, object]:
    columns: dict[str, object] = dict(zip(RECTANGLE_FIELDS, rectangles.T, strict=True))
    if np.isnan(rectangles).all():
        return columns | {"corners": [None] * len(records), "box": [None] * len(records)}
    extent = np.array([(r.width, r.height) for r in records], dtype=np.float32)
    corners, boxes = relative_shapes(rectangles, extent)
    return columns | {"corners": list(corners), "box": list(boxes)}


def relative_shapes(rectangles: np.ndarray, extent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners `(N, 8)`, and upright boxes clipped to the image `(N, 4)` as `x, y, w, h`, both relative to the image, of
    rectangles `(N, 5)` in pixels of images of `extent` `(N, 2)`, width first."""
    as_tensor = torch.from_numpy(rectangles)
    points = geometry.corners(as_tensor).numpy() / extent[:, None]
    upright = geometry.bounding_boxes(as_tensor).numpy()
    low = np.clip(upright[:, :2] / extent, 0, 1)
    high = np.clip((upright[:, :2] + upright[:, 2:]) / extent, 0, 1)
    return points.reshape(len(rectangles), 8), np.concatenate([low, high - low], axis=1)
