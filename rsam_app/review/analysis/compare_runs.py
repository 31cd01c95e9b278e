"""Two runs compared by where they looked: the overlap of their rectangles, image by image."""

from __future__ import annotations

from typing import Any

import numpy as np

from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.fields import OVERLAP
from rsam_app.review.dataset.schema import add_field, run_keys
from rsam_app.system.errors import UserError


def compare_runs(review_set: Any, first: str, second: str) -> tuple[str, int]:
    """Write the rotated IoU of two runs' rectangles as the field `FIRST_iou_with_SECOND`; returns its name and how many
    samples have both rectangles.

    1 where both looked at the same place, 0 where their rectangles do not touch; empty where one shows no rectangle.
    The rectangles are the models' own, also where a person moved one. Use it to see what another training changed.
    Raises `UserError` for an unknown run, the same run twice, or runs without a common image.
    """
    import fiftyone as fo

    from rsam_app.geometry.overlap import rotated_iou

    known = run_keys(review_set)
    for key in (first, second):
        if key not in known:
            raise UserError(f"compare runs: {key!r} is no run of this dataset (has: {', '.join(known)}).")
    if first == second:
        raise UserError(f"compare runs: {first!r} twice. Choose two runs; `rsam review RUN` writes another one.")
    paths = [f"{key}_attention.detections.{name}" for key in (first, second) for name in RECTANGLE_FIELDS]
    ids, *columns = review_set.values(["id", *paths])
    rows = [_numbers(row) for row in zip(*columns, strict=True)]
    both = [(i, row) for i, row in zip(ids, rows, strict=True) if row is not None]
    if not both:
        raise UserError(f"compare runs: no image shows a rectangle of {first!r} and one of {second!r}.")
    five = np.array([row for _, row in both])
    values = rotated_iou(five[:, :5], five[:, 5:])
    name = f"{first}_{OVERLAP}{second}"
    add_field(review_set, name, fo.FloatField, description=f"overlap of the rectangles of {first} and {second}, 0 to 1")
    found = {sample_id: float(v) for (sample_id, _), v in zip(both, values, strict=True)}
    values_by_id = {i: found.get(i) for i in ids}
    review_set.set_values(name, values_by_id, key_field="id", validate=False, expand_schema=False)
    return name, len(both)


def _numbers(row: tuple[Any, ...]) -> list[float] | None:
    values = [float(column[0]) for column in row if column and column[0] is not None]
    return values if len(values) == len(row) else None
