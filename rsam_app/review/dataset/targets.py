"""Targets: the rectangle a person means when she draws a box, drags the model's, or accepts it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bson import ObjectId

from rsam_app.geometry.boxes import relative_box
from rsam_app.geometry.types import RECTANGLE_FIELDS, Rectangle
from rsam_app.review.dataset.compare_and_set import Change, swap
from rsam_app.review.dataset.fields import moved


def rectangle_of(detection: Any, width: int, height: int) -> Rectangle:
    """`cx, cy, width, height, angle` (image pixels, radians) of a detection on an image of `width` × `height` pixels.

    - A box of ours (it has `model_box`) that nobody moved is exactly its five attributes; shifted as a whole, they
      shift with it; resized, the person's upright box replaces the rectangle.
    - A drawn box is upright, or turned about its centre by its attribute `angle` (radians) or `rotation` (degrees, as
      FiftyOne's annotation back-ends return it), clockwise as displayed.

    Raises `ValueError` where the box covers less than a pixel or is not four numbers.
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
    return Rectangle(*upright, 0.0 if original else canonical_angle(_turn(detection)))


def as_target(five: Rectangle, width: int, height: int, accepted_from: str | None = None) -> Any:
    """A rectangle (image pixels, radians) as a value of `attention_target`: the upright box around it, clipped to the
    image as FiftyOne shows it, with the five numbers as attributes."""
    import fiftyone as fo

    cx, cy, w, h, angle = five
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    half_x, half_y = (w * cos + h * sin) / 2, (w * sin + h * cos) / 2
    box = relative_box(cx - half_x, cy - half_y, cx + half_x, cy + half_y, (width, height))
    attributes: dict[str, Any] = dict(zip(RECTANGLE_FIELDS, five, strict=True))
    if accepted_from:
        attributes["accepted_from"] = accepted_from
    detection = fo.Detection(label="target", bounding_box=box, model_box=list(box), **attributes)
    return fo.Detections(detections=[detection])


def adopt_accepted(review_set: Any, key: str) -> list[str]:
    """Turn every accepted rectangle of the run `key` into the sample's `attention_target`, so that a later run cannot
    change what was accepted; targets whose acceptance was taken back are emptied.

    Accepted is a sample whose `review` is 'accept' or which is tagged 'accept'. Returns ids of records that were
    accepted although the run shows no rectangle there.
    """
    from fiftyone import ViewField as F

    accepted = (F("review") == "accept") | F("tags").contains("accept")
    drawn = F("attention_target.detections").length() > 0
    without = []
    if review_set.has_sample_field(f"{key}_attention"):
        names = ["id", "record_id", f"{key}_attention.detections", "metadata.width", "metadata.height"]
        targets = {}
        for sample_id, record_id, detections, width, height in zip(
            *review_set.match(accepted & ~drawn).values(names), strict=True
        ):
            try:
                five = rectangle_of(detections[0], width, height)
                targets[sample_id] = as_target(five, width, height, key)
            except (ValueError, TypeError, IndexError):  # nothing is shown, or nothing that is a rectangle
                without.append(record_id)
        _set_targets(review_set, targets, lambda detections: not detections)
    withdrawn = review_set.match(drawn & ~accepted).values("id")
    _set_targets(review_set, dict.fromkeys(withdrawn), lambda detections: all(map(_accepted_as_is, detections)))
    return without


def _set_targets(review_set: Any, targets: dict[str, Any], may: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Set the targets of samples, by id, where what is drawn there may be replaced and until then nobody draws."""
    if not targets:
        return
    collection = review_set._dataset._sample_collection
    fields = ("attention_target", "review", "tags")
    changes = []
    for held in collection.find({"_id": {"$in": [ObjectId(i) for i in targets]}}, dict.fromkeys(fields, 1)):
        if may((held.get("attention_target") or {}).get("detections") or []):
            target = targets[str(held["_id"])]
            seen = {field: held.get(field) for field in fields}
            changes.append(Change(held["_id"], seen, {"attention_target": target and target.to_dict()}))
    swap(collection, changes)
    review_set.reload()


def _accepted_as_is(detection: dict[str, Any]) -> bool:
    """Whether a detection, as stored, is a rectangle that was accepted and not moved since."""
    return bool(detection.get("accepted_from")) and not moved(detection["bounding_box"], detection.get("model_box"))


def _attributes(detection: Any) -> Rectangle | None:
    values = [detection[name] for name in RECTANGLE_FIELDS if detection.has_field(name)]
    if len(values) < 5 or any(v is None for v in values):
        return None
    return Rectangle(*(float(v) for v in values))


def _turn(detection: Any) -> float:
    for name, unit in (("angle", 1.0), ("rotation", math.pi / 180)):
        value = detection[name] if detection.has_field(name) else None
        if isinstance(value, int | float):
            return float(value) * unit
    return 0.0


def canonical_angle(angle: float) -> float:
    """The same direction in [-π/2, π/2): a rectangle turned by half a circle is itself."""
    return (angle + math.pi / 2) % math.pi - math.pi / 2
