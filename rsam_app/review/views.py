"""Saved views: where a reviewer starts. They store what to look for and not what was found, so they stay live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from rsam_app.review.dataset import memory, remember
from rsam_app.review.decisions import is_decided


class SavedView(NamedTuple):
    """A view by its name in the App."""

    name: str
    view: Any
    description: str
    color: str


def save_views(review_set: Any, key: str) -> list[str]:
    """Save the views of the run `key` and those of the data set; returns the names of those that are new.

    A view is made once: one that the person changed stays as she left it, and one that she renamed or deleted, or whose
    name she had taken, does not come (back).
    """
    from fiftyone.core.utils import to_slug

    made: list[str] = memory(review_set).get("views", [])
    taken = {to_slug(name) for name in review_set.list_saved_views()}
    new = []
    for saved in _views(review_set, key):
        if saved.name in made or to_slug(saved.name) in taken:
            continue
        review_set.save_view(saved.name, saved.view, description=saved.description, color=saved.color)
        new.append(saved.name)
    if new:
        remember(review_set, views=[*made, *new])
    return new


def _views(review_set: Any, key: str) -> Iterator[SavedView]:
    from fiftyone import ViewField as F

    def ranked(score: str, reverse: bool) -> Any:
        field = f"{key}_{score}"
        review_set.create_index(field)
        return review_set.exists(field).sort_by(field, reverse=reverse)

    if review_set.has_sample_field(f"{key}_misattention"):
        text = "where the model most likely looked in the wrong place, worst first"
        yield SavedView(f"{key} misattended", ranked("misattention", True), text, "#FF6D04")
    wrong = F(f"{key}_prediction.label") != F("ground_truth.label")
    text = "the model's class is not the label"
    predicted = review_set.exists(f"{key}_prediction")
    yield SavedView(f"{key} wrong", predicted.match(wrong), text, "#D32F2F")
    if review_set.has_sample_field(f"{key}_label_quality"):
        text = "labels that are most likely mistaken, worst first"
        yield SavedView(f"{key} suspect labels", ranked("label_quality", False), text, "#8E24AA")
    text = "the smallest margin between the first and the second class first"
    yield SavedView(f"{key} unsure", ranked("margin", False), text, "#1E88E5")
    yield SavedView(
        "to relabel", review_set.match_tags("relabel"), "tagged 'relabel', by `rsam select` or by you", "#FBC02D"
    )
    text = "you marked it, edited its label or drew a target; `rsam apply` reads it"
    yield SavedView("decided", review_set.match(is_decided([])), text, "#43A047")
