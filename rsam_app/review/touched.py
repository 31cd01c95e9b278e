"""What a person did to the labels of a run, read before they are overwritten and carried over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rsam_app.review.fields import moved
from rsam_app.review.samples import Samples


@dataclass(frozen=True)
class Touched:
    """Her tags on a sample's labels of one run, by field (`prediction`, `attention`, `rectangle`), and whether she
    moved a box of `attention`, or drew one there."""

    tags: dict[str, list[str]]
    moved: bool


def read_touched(samples: Samples, key: str, record_ids: Sequence[str]) -> dict[str, Touched]:
    """By record id, the samples whose labels of the run `key` a person touched."""
    attention = f"{key}_attention.detections"
    names = [f"{key}_prediction.tags", f"{attention}.tags", f"{key}_rectangle.polylines.tags"]
    found = samples.get(record_ids, [*names, f"{attention}.bounding_box", f"{attention}.model_box"])
    touched = {}
    for record_id, (on_label, on_boxes, on_shapes, boxes, originals) in found.items():
        tags = {"prediction": on_label or [], "attention": _flat(on_boxes), "rectangle": _flat(on_shapes)}
        hers = any(moved(*pair) for pair in zip(boxes or [], originals or [], strict=True))
        if hers or any(tags.values()):
            touched[record_id] = Touched(tags, hers)
    return touched


def carry_over(name: str, values: dict[str, Any], touched: dict[str, Touched]) -> dict[str, Any]:
    """`values` of the field `name` (without the run's key) by record id, ready to be written: with her tags on the new
    labels, and without the attention boxes that she moved."""
    for record_id, hers in touched.items():
        value = values.get(record_id)
        if name == "attention" and hers.moved:
            values.pop(record_id, None)
        elif value is not None and hers.tags.get(name):
            for label in _labels(value):
                label.tags = hers.tags[name]
    return values


def _labels(value: Any) -> list[Any]:
    if hasattr(value, "detections"):
        return list(value.detections)
    return list(value.polylines) if hasattr(value, "polylines") else [value]


def _flat(tags: list[list[str] | None] | None) -> list[str]:
    return list(dict.fromkeys(tag for of_one in tags or [] for tag in of_one or []))
