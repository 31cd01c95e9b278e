"""What a person did to the labels of a run, carried over to the labels that replace them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rsam_app.review.fields import GEOMETRY, moved

_SHAPE = ("bounding_box", "model_box", *GEOMETRY, "points", "closed", "filled", "map_path")
OURS = frozenset(("_cls", "label", "confidence", "logits", *_SHAPE))
"""What a run says in a label. All else in it (its id, tags, attributes of hers or of FiftyOne's evaluation) stays."""


def differing(key: str, stored: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the run `key` to be set on a sample that holds `stored`, so that it says `new`.

    Labels keep their ids and her tags; attention that she moved, or drew, stays as it is; further shapes that she put
    beside the model's stay.
    """
    changes = {}
    for field, value in new.items():
        held = stored.get(field)
        if field == f"{key}_attention" and hers(held):
            continue
        wanted = _carried(held, value)
        if wanted != held:
            changes[field] = wanted
    return changes


def hers(attention: Mapping[str, Any] | None) -> bool:
    """Whether a person moved a box of `attention` (as stored), or drew one there."""
    boxes = (attention or {}).get("detections") or []
    return any(moved(box.get("bounding_box"), box.get("model_box")) for box in boxes)


def _carried(held: Any, new: Any) -> Any:
    for kind in ("detections", "polylines"):
        if any(isinstance(value, dict) and kind in value for value in (held, new)):
            old, ours = (list((value or {}).get(kind) or []) for value in (held, new))
            labels = [_label(*pair) for pair in zip(old, ours, strict=False)] + ours[len(old) :] + old[1:]
            return {**(held or new), kind: labels} if labels else None
    return _label(held, new) if isinstance(held, dict) and isinstance(new, dict) else new


def _label(held: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in held.items() if name not in OURS}
    return {**new, **rest}
