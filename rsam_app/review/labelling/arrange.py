"""The App's layout for labelling: the view of the batch, the workspace, and the fields that are shown."""

from __future__ import annotations

from typing import Any

from rsam_app.review.app.layout import arrange_labels
from rsam_app.review.dataset.labelling_fields import PROBABILITY, RANK, is_undecided

BATCH_VIEW = "to label"
"""Name of the saved view of the batch. It stores a query, so it always shows the present one."""


def arrange_labelling(review_set: Any) -> None:
    """Save the views and the layout, except those that the reviewer changed."""
    _save(review_set, BATCH_VIEW, review_set.exists(RANK).sort_by(RANK), "the batch that is labelled now, best first")
    sure = review_set.match(is_undecided()).exists(PROBABILITY).sort_by(PROBABILITY, reverse=True)
    _save(review_set, "suggested labels", sure, "not labelled yet, the surest suggestion first")
    arrange_labels(review_set)


def _save(review_set: Any, name: str, view: Any, description: str) -> None:
    if not review_set.has_saved_view(name):
        review_set.save_view(name, view, description=description, color="#5E35B1")
