"""Fields and values that the reviewer may edit in the App's Annotate tab."""

from __future__ import annotations

from typing import Any

from rsam_app.review.dataset.guest import field_of
from rsam_app.review.dataset.schema import DECISIONS, field_keys, memory, remember


def offer_labels(review_set: Any, key: str) -> dict[str, Any]:
    """Declare the fields and values of the App's Annotate tab; FiftyOne before 1.13 has no such tab.

    The tab shows no other fields. It therefore has the rectangle too, read-only, to be seen while its box is dragged.
    Returns what is to be remembered.
    """
    if not hasattr(review_set, "update_label_schema"):
        return {}
    classes = {"component": "dropdown", "classes": memory(review_set).classes}
    schemas: dict[str, dict[str, Any]] = {
        "review": {"type": "str", "component": "radio", "values": list(DECISIONS)},
        field_of(review_set, "ground_truth"): {"type": "classification", **classes},
        "attention_target": {"type": "detections", "component": "dropdown", "classes": ["target"], "default": "target"},
        f"{key}_attention": {"type": "detections", **classes},
        f"{key}_rectangle": {"type": "polylines", **classes, "read_only": True},
    }
    current, stored = review_set.label_schemas, memory(review_set).annotation
    new = {
        field: schema
        for field, schema in schemas.items()
        if review_set.has_sample_field(field)  # those of a run are missing as long as there is none
        and stored.get(field) != schema
        and (field not in current or _contains(current[field], stored.get(field)))
    }
    for field, schema in new.items():
        review_set.update_label_schema(field, schema)
    if first := [field for field in new if field not in stored]:
        review_set.activate_label_schemas(first)
    return {"annotation": {**stored, **new}} if new else {}


def offer_all_labels(review_set: Any) -> None:
    """As `offer_labels`, for every run in the dataset, and remember it; for `rsam label` without one."""
    for key in field_keys(review_set):
        if stored := offer_labels(review_set, key):
            remember(review_set, **stored)


def _contains(current: dict[str, Any], stored: dict[str, Any] | None) -> bool:
    """Whether the reviewer left a label schema as it was stored; FiftyOne adds keys of its own."""
    return stored is not None and all(current.get(name) == value for name, value in stored.items())
