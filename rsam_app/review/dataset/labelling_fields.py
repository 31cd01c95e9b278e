"""The fields of `rsam label`, which stand in every sample although there is no run."""

from __future__ import annotations

from typing import Any

from rsam_app.review.dataset.schema import add_field
from rsam_app.run.folder import LABELLING

RANK, REASON = f"{LABELLING}_rank", f"{LABELLING}_reason"
SUGGESTED, PROBABILITY = f"{LABELLING}_suggested", f"{LABELLING}_suggested_probability"


def declare_labelling(review_set: Any) -> None:
    """Add the fields, and the indexes by which images of a batch and those with a decision are found."""
    import fiftyone as fo

    add_field(review_set, RANK, fo.IntField, description="place in the batch that is labelled now, from 1")
    add_field(review_set, REASON, fo.StringField, description="why the image is in the batch")
    about = "the class whose labelled images are most alike; key 7 accepts it"
    add_field(review_set, SUGGESTED, fo.StringField, description=about)
    about = f"probability of {SUGGESTED} by the distances to all classes, not calibrated"
    add_field(review_set, PROBABILITY, fo.FloatField, description=about)
    for name in (RANK, "ground_truth.label", "review"):
        review_set.create_index(name)


def is_undecided() -> Any:
    """Return a FiftyOne expression: the image has neither a label nor a mark."""
    from fiftyone import ViewField as F

    return ~F("ground_truth.label").exists() & ~F("review").exists()
