"""Rectangles that a discovery taught by the reviewer's answers found, beside those of the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rsam_app.geometry.types import Rectangle
from rsam_app.review.app.layout import arrange
from rsam_app.review.dataset.fields import LOCATED
from rsam_app.review.dataset.guest import field_of
from rsam_app.review.dataset.schema import add_field, memory, remember, run_keys
from rsam_app.review.dataset.targets import as_target
from rsam_app.system.errors import UserError


def forget_located(review_set: Any, key: str) -> None:
    """Empty the field `KEY_located`, if there is one: the run looks elsewhere now."""
    if review_set.has_sample_field(f"{key}_{LOCATED}"):
        review_set.clear_sample_field(f"{key}_{LOCATED}")


def write_located(
    review_set: Any, key: str, rectangles: Mapping[str, Rectangle], moved: Collection[str]
) -> tuple[str, str]:
    """Write rectangles (image pixels) by record id to the field `KEY_located`, and save a view of those that moved;
    return the names of both.

    The App shows them beside the model's, and marks and acceptances are about these from now on, until the run's
    predictions change. Other images have no value. A view of that name stays as the reviewer left it. Raises
    `UserError` for an unknown run.
    """
    import fiftyone as fo

    if key not in run_keys(review_set):
        raise UserError(f"locate: {key!r} is not a run of this dataset. `rsam review RUN` adds one.")
    field, view = f"{key}_{LOCATED}", f"{key} located again"
    text = "where the object is by the answers given so far, found by `rsam locate`; the next training starts from it"
    add_field(review_set, field, fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections, description=text)
    size = field_of(review_set, "metadata")
    names = ["id", "record_id", f"{size}.width", f"{size}.height"]
    values = {
        sample_id: as_target(rectangles[record_id], width, height, label="moved" if record_id in moved else "unmoved")
        if record_id in rectangles
        else None
        for sample_id, record_id, width, height in zip(*review_set.values(names), strict=True)
    }
    review_set.set_values(field, values, key_field="id", validate=False, expand_schema=False)
    if not review_set.has_saved_view(view):
        from fiftyone import ViewField as F

        review_set.save_view(view, review_set.match(F(f"{field}.detections.label").contains("moved")), description=text)
        remember(review_set, views=[*memory(review_set).views, view])
    arrange(review_set, key)
    return field, view
