"""The predictions table as arrays, checked against its dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsam_app.data.records import Dataset, Record, by_id
from rsam_app.evaluation.metrics.rectangles import rectangle_ious
from rsam_app.geometry.types import RECTANGLE_FIELDS, Floats, Integers
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class PredictionArrays:
    """The rows of one split.

    `logits` `(N, C)` float64 in the order of the classes, `labels` `(N,)` class indices (corrections applied),
    `rectangles` `(N, 5)` in image pixels, NaN in rows without one, and the rows' records.
    """

    logits: Floats
    labels: Integers
    rectangles: Floats
    records: tuple[Record, ...]

    @property
    def predicted(self) -> Integers:
        """The class `(N,)` with the highest logit, the first of equal ones."""
        return np.asarray(self.logits.argmax(axis=1))

    @property
    def with_rectangle(self) -> Integers:
        """The rows that have a rectangle."""
        return np.flatnonzero(np.isfinite(self.rectangles).all(axis=1))

    def ious(self) -> Floats:
        """IoU `(N,)` of each rectangle with the object (see `rectangle_ious`); NaN without either. Raises `UserError`
        if a mask cannot be read."""
        return rectangle_ious(self.rectangles, self.records)


def split_arrays(table: pa.Table, dataset: Dataset, split: str, classes: Sequence[str]) -> PredictionArrays:
    """The rows of a split of `table`, possibly none.

    Raises `UserError` if the table does not fit the dataset or the classes, or holds numbers that are not finite.
    """
    rows = table.filter(pc.equal(table.column("split"), split))
    known = by_id(dataset.records)
    ids = rows.column("id").to_pylist()
    unknown = [i for i in ids if i not in known]
    if unknown:
        raise UserError(
            f"predictions of {split}: {len(unknown)} images, e.g. {unknown[0]!r}, are not in the dataset"
            f" {dataset.name}.\n"
            "The dataset has changed since then: rerun `rsam predict`."
        )
    return PredictionArrays(
        logits=_logits(rows, split, len(classes)),
        labels=_labels(rows, split, classes),
        rectangles=_rectangles(rows, split),
        records=tuple(known[i] for i in ids),
    )


def _logits(rows: pa.Table, split: str, classes: int) -> Floats:
    lengths = set(pc.list_value_length(rows.column("logits")).to_pylist())
    if lengths - {classes}:
        raise UserError(
            f"predictions of {split}: logits for {sorted(lengths, key=str)} classes, but the model names {classes}.\n"
            "The table was written by another model: rerun `rsam predict`."
        )
    flat = pc.list_flatten(rows.column("logits")).to_numpy().astype(np.float64)
    logits = flat.reshape(rows.num_rows, classes)
    _require_finite(logits, rows, f"predictions of {split}: logits")
    return np.asarray(logits)


def _labels(rows: pa.Table, split: str, classes: Sequence[str]) -> Integers:
    index = {name: i for i, name in enumerate(classes)}
    labels = rows.column("label").to_pylist()
    unknown = sorted({str(name) for name in labels if name not in index})
    if unknown:
        raise UserError(
            f"predictions of {split}: the label {unknown[0]!r} is not one of the model's {len(classes)} classes"
            f" ({len(unknown)} such labels). Correct the label, or retrain on the current dataset."
        )
    return np.array([index[name] for name in labels], dtype=np.int64)


def _rectangles(rows: pa.Table, split: str) -> Floats:
    columns = [rows.column(name).to_numpy().astype(np.float64) for name in RECTANGLE_FIELDS]
    rectangles = np.stack(columns, axis=1)
    # pyarrow turns null into NaN: a row without a rectangle is all NaN, and a row with some NaN is broken.
    null = np.asarray(rows.column("cx").is_null())
    present = rectangles[~null]
    _require_finite(present, rows.filter(pa.array(~null)), f"predictions of {split}: rectangles")
    if (present[:, 2:4] < 0).any():
        raise UserError(f"predictions of {split}: a rectangle has a negative size. Rerun `rsam predict`.")
    rectangles[null] = np.nan
    return rectangles


def _require_finite(values: Floats, rows: pa.Table, what: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        example = rows.column("id")[int(bad[0])].as_py()
        raise UserError(
            f"{what} are not finite for {len(bad)} images, e.g. {example!r}: the training diverged.\n"
            "Retrain with a lower train.learning_rate or train.precision float32, then run `rsam predict`."
        )
