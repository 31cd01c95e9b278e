"""Comparison of two runs: the overlap of their rectangles and how each image changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.fields import CHANGE, OVERLAP
from rsam_app.review.dataset.schema import add_field, memory, remember, run_keys
from rsam_app.system.errors import UserError


def compare_runs(review_set: Any, first: str, second: str) -> tuple[str, int]:
    """Write the rotated IoU of two runs' rectangles to the field `FIRST_iou_with_SECOND`; return its name and how many
    samples have both rectangles.

    1: the rectangles are equal; 0: they do not touch; empty: one is missing. The rectangles are the models' own, even
    if the reviewer moved one. Use it to see what another training changed. Raises `UserError` for an unknown run, the
    same run twice, or runs without a common image.
    """
    import fiftyone as fo

    from rsam_app.geometry.overlap import rotated_iou

    _require_runs(review_set, first, second)
    paths = [f"{key}_attention.detections.{name}" for key in (first, second) for name in RECTANGLE_FIELDS]
    ids, *columns = review_set.values(["id", *paths])
    rows = [_numbers(row) for row in zip(*columns, strict=True)]
    both = [(i, row) for i, row in zip(ids, rows, strict=True) if row is not None]
    if not both:
        raise UserError(
            f"compare runs: no image has rectangles of both {first!r} and {second!r}. Predict the same images."
        )
    rectangles = np.array([row for _, row in both])
    values = rotated_iou(rectangles[:, :5], rectangles[:, 5:])
    name = f"{first}_{OVERLAP}{second}"
    add_field(review_set, name, fo.FloatField, description=f"overlap of the rectangles of {first} and {second}, 0 to 1")
    overlaps = {sample_id: float(v) for (sample_id, _), v in zip(both, values, strict=True)}
    values_by_id = {i: overlaps.get(i) for i in ids}
    review_set.set_values(name, values_by_id, key_field="id", validate=False, expand_schema=False)
    return name, len(both)


def write_changes(review_set: Any, first: str, second: str, changes: Mapping[str, str]) -> tuple[str, int]:
    """Write how each image changed from the run `first` to the run `second` to the field `SECOND_change_from_FIRST`,
    by record id, and save a view of these images; return the view's name and how many samples it has.

    Other images have no value. A view of that name stays as the reviewer left it. Raises `UserError` for
    an unknown run, or the same run twice.
    """
    import fiftyone as fo

    _require_runs(review_set, first, second)
    field, view = f"{second}_{CHANGE}{first}", f"{second} compared with {first}"
    text = f"how the image changed from {first} to {second}, by `rsam compare`"
    add_field(review_set, field, fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification, description=text)
    labels = {
        sample_id: fo.Classification(label=changes[record_id]) if record_id in changes else None
        for sample_id, record_id in zip(*review_set.values(["id", "record_id"]), strict=True)
    }
    review_set.set_values(field, labels, key_field="id", validate=False, expand_schema=False)
    changed = review_set.exists(field).sort_by(f"{field}.label")
    if not review_set.has_saved_view(view):
        review_set.save_view(view, changed, description=text)
        remember(review_set, views=[*memory(review_set).views, view])
    return view, len(changed)


def _require_runs(review_set: Any, first: str, second: str) -> None:
    known = run_keys(review_set)
    for key in (first, second):
        if key not in known:
            raise UserError(
                f"compare runs: {key!r} is not a run of this dataset. Its runs: {', '.join(known)}."
                " `rsam review RUN` adds one."
            )
    if first == second:
        raise UserError(f"compare runs: {first!r} is given twice. Choose two runs; `rsam review RUN` adds one.")


def _numbers(row: tuple[Any, ...]) -> list[float] | None:
    values = [float(column[0]) for column in row if column and column[0] is not None]
    return values if len(values) == len(row) else None
