"""Attention targets: the rectangle that the reviewer draws, drags, or accepts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bson import ObjectId

from rsam_app.geometry.boxes import relative_box
from rsam_app.geometry.types import RECTANGLE_FIELDS, Rectangle
from rsam_app.review.dataset.compare_and_set import Change, compare_and_set
from rsam_app.review.dataset.decision_tags import has_decision_tag
from rsam_app.review.dataset.fields import LOCATED, moved
from rsam_app.review.dataset.fiftyone_internals import sample_collection
from rsam_app.review.dataset.guest import field_of


def rectangle_of(detection: Any, width: int, height: int) -> Rectangle:
    """Return the rectangle (image pixels, radians) of a detection on an image of `width` × `height` pixels.

    - If the model's box (it has `model_box`) was not moved, the rectangle is its five attributes. If it was dragged,
      the rectangle moves with it. If it was resized, the new upright box replaces the rectangle.
    - A drawn box is upright, or rotated about its centre by its attribute `angle` (radians) or `rotation` (degrees,
      from FiftyOne's annotation back-ends), clockwise as displayed.

    Raises `ValueError` if the box covers less than a pixel or is not four numbers.
    """
    box, original = detection.bounding_box, detection["model_box"] if detection.has_field("model_box") else None
    if not box or len(box) != 4 or not all(math.isfinite(v) for v in box):
        raise ValueError(f"its box is {box}")
    five = _attributes(detection)
    upright = ((box[0] + box[2] / 2) * width, (box[1] + box[3] / 2) * height, box[2] * width, box[3] * height)
    if original and five and not moved(box[2:], original[2:]):
        if moved(box, original):
            cx, cy = five.cx + (box[0] - original[0]) * width, five.cy + (box[1] - original[1]) * height
            return five._replace(cx=cx, cy=cy)
        return five
    if upright[2] * upright[3] < 1:
        raise ValueError(f"its box covers less than a pixel ({upright[2]:.2f} × {upright[3]:.2f})")
    return Rectangle(*upright, 0.0 if original else canonical_angle(_rotation(detection)))


def is_on_image(rectangle: Rectangle, width: int, height: int) -> bool:
    """Whether at least a pixel of the rectangle is inside an image of `width` × `height` pixels."""
    from rsam_app.geometry.clipping import clip_polygon, rectangle_corners  # imports torch

    inside = clip_polygon(rectangle_corners(rectangle), width, height)
    return inside is not None and inside.area >= 1


def as_target(
    rectangle: Rectangle, width: int, height: int, accepted_from: str | None = None, label: str = "target"
) -> Any:
    """Return a rectangle (image pixels, radians) as a value of `attention_target`: the upright box around it, clipped
    to the image, with the five numbers as attributes; or of another field of rectangles, with their `label`.
    `accepted_from` is the key of the run it was accepted from."""
    import fiftyone as fo

    cx, cy, w, h, angle = rectangle
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    half_x, half_y = (w * cos + h * sin) / 2, (w * sin + h * cos) / 2
    box = relative_box(cx - half_x, cy - half_y, cx + half_x, cy + half_y, (width, height))
    attributes: dict[str, Any] = dict(zip(RECTANGLE_FIELDS, rectangle, strict=True))
    if accepted_from:
        attributes["accepted_from"] = accepted_from
    detection = fo.Detection(label=label, bounding_box=box, model_box=list(box), **attributes)
    return fo.Detections(detections=[detection])


def adopt_accepted(review_set: Any, key: str) -> list[str]:
    """Copy every accepted rectangle of the run `key`, the one found again by `rsam locate` before the model's, to the
    sample's `attention_target`, so that later runs cannot change it, and remove targets whose acceptance was withdrawn.

    A sample is accepted if its `review` is 'accept' or it has the tag 'accept'. Returns the ids of accepted records
    without a rectangle of the run.
    """
    from fiftyone import ViewField as F

    accepted = (F("review") == "accept") | has_decision_tag("accept")
    has_target = F("attention_target.detections").length() > 0
    without_rectangle = []
    if review_set.has_sample_field(f"{key}_attention"):
        size = field_of(review_set, "metadata")
        again = f"{key}_{LOCATED}" if review_set.has_sample_field(f"{key}_{LOCATED}") else f"{key}_attention"
        paths = [f"{name}.detections" for name in (again, f"{key}_attention")]
        names = ["id", "record_id", *paths, f"{size}.width", f"{size}.height"]
        targets = {}
        for sample_id, record_id, found_again, detections, width, height in zip(
            *review_set.match(accepted & ~has_target).values(names), strict=True
        ):
            try:
                five = rectangle_of((found_again or detections)[0], width, height)
                targets[sample_id] = as_target(five, width, height, key)
            except (ValueError, TypeError, IndexError):  # there is no detection, or none with a valid box
                without_rectangle.append(record_id)
        _set_targets(review_set, targets, lambda detections: not detections)
    withdrawn = review_set.match(has_target & ~accepted).values("id")
    _set_targets(review_set, dict.fromkeys(withdrawn), lambda detections: all(map(_accepted_as_is, detections)))
    return without_rectangle


def _set_targets(
    review_set: Any, targets: dict[str, Any], is_replaceable: Callable[[list[dict[str, Any]]], bool]
) -> None:
    """Set targets by sample id if the present detections are replaceable, and still are when the target is set."""
    if not targets:
        return
    collection = sample_collection(review_set)
    fields = ("attention_target", "review", "tags")
    changes = []
    for sample in collection.find({"_id": {"$in": [ObjectId(i) for i in targets]}}, dict.fromkeys(fields, 1)):
        if is_replaceable((sample.get("attention_target") or {}).get("detections") or []):
            target = targets[str(sample["_id"])]
            expected = {field: sample.get(field) for field in fields}
            changes.append(Change(sample["_id"], expected, {"attention_target": target and target.to_dict()}))
    compare_and_set(collection, changes)
    review_set.reload()


def _accepted_as_is(detection: dict[str, Any]) -> bool:
    """Whether a detection, as stored, is an accepted rectangle that was not moved since."""
    return bool(detection.get("accepted_from")) and not moved(detection["bounding_box"], detection.get("model_box"))


def _attributes(detection: Any) -> Rectangle | None:
    values = [detection[name] for name in RECTANGLE_FIELDS if detection.has_field(name)]
    if len(values) < 5 or any(v is None for v in values):
        return None
    return Rectangle(*(float(v) for v in values))


def _rotation(detection: Any) -> float:
    for name, unit in (("angle", 1.0), ("rotation", math.pi / 180)):
        value = detection[name] if detection.has_field(name) else None
        if isinstance(value, int | float):
            return float(value) * unit
    return 0.0


def canonical_angle(angle: float) -> float:
    """Return the equivalent angle in [-π/2, π/2): rectangles are the same after half a turn."""
    return (angle + math.pi / 2) % math.pi - math.pi / 2
