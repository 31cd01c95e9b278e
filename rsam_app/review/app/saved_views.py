"""Saved views: starting points for a review. They store a query and not its results, so they are always current."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from rsam_app.data.records import UNLABELLED
from rsam_app.review.analysis.derived_fields import pairs_of
from rsam_app.review.analysis.triage import TRIAGE_COLORS
from rsam_app.review.app.review_queue import without_test
from rsam_app.review.dataset.fiftyone_internals import serialized_stages, slug
from rsam_app.review.dataset.guest import field_of, label_path
from rsam_app.review.dataset.schema import memory, remember, run_keys
from rsam_app.review.decisions.read import is_decided
from rsam_app.system.files import fingerprint


class SavedView(NamedTuple):
    """A view as the App lists it."""

    name: str
    view: Any
    description: str
    color: str


def save_views(review_set: Any, key: str) -> list[str]:
    """Save the views of the run `key` and of the dataset; return the names of new ones.

    Each view is saved once, and again if its query changed. A view that the reviewer changed, renamed or deleted stays
    so, and a name that the reviewer already used is not taken. Views of class pairs that are no longer among the most
    often confused are deleted unless the reviewer changed them.
    """
    _delete_old_pairs(review_set, key)
    saved_names: list[str] = memory(review_set).views
    queries: dict[str, str] = memory(review_set).view_stages
    taken = {slug(name) for name in review_set.list_saved_views()}
    new, current = [], {}
    for saved in _views(review_set, key):
        name, before = saved.name, queries.get(saved.name, "")
        current[name] = _query(saved.view)
        if name not in saved_names and slug(name) not in taken:
            _save(review_set, saved)
            taken.add(slug(name))
            new.append(name)
        elif name in saved_names and current[name] != before and _saved_query(review_set, name) == before:
            _save(review_set, saved)  # the query changed, and the reviewer did not change the view
    if new or {**queries, **current} != queries:
        remember(review_set, views=[*saved_names, *new], view_stages={**queries, **current})
    return new


def _save(review_set: Any, saved: SavedView) -> None:
    name, view, description, color = saved
    review_set.save_view(name, view, overwrite=True, description=description, color=color)


def _saved_query(review_set: Any, name: str) -> str | None:
    return _query(review_set.load_saved_view(name)) if review_set.has_saved_view(name) else None


def _query(view: Any) -> str:
    """A fingerprint of a view's stages."""
    return fingerprint(serialized_stages(view))


def first_view(review_set: Any) -> str | None:
    """Name of the view that opens first: the latest run's misattended images, if that view exists."""
    names = (f"{key} misattended" for key in run_keys(review_set)[:1])
    return next((name for name in names if review_set.has_saved_view(name)), None)


def _views(review_set: Any, key: str) -> Iterator[SavedView]:
    from fiftyone import ViewField as F

    yield from _triage_views(review_set, key)
    yield from _ranked_views(review_set, key)
    yield from _duplicate_views(review_set, key)
    yield from (_pair_view(review_set, key, *pair) for pair in pairs_of(review_set, key))
    text = "tagged 'relabel' by `rsam select` or by you"
    yield SavedView("to relabel", review_set.match_tags("relabel"), text, "#FBC02D")
    label, split = field_of(review_set, "ground_truth"), field_of(review_set, "split")
    if len(unlabelled := review_set.match((F(split) == UNLABELLED) & ~F(label).exists())):
        text = "no label yet; `rsam select --split unlabelled` selects which to label first"
        yield SavedView("without a label", unlabelled, text, "#78909C")
    text = "you marked the image, edited its label or drew a target; `rsam apply` reads it"
    yield SavedView("decided", review_set.match(is_decided(review_set, [])), text, "#43A047")


def _ranked(review_set: Any, key: str, score: str, reverse: bool) -> Any:
    field = f"{key}_{score}"
    review_set.create_index(field)
    return review_set.exists(field).sort_by(field, reverse=reverse)


def _triage_views(review_set: Any, key: str) -> Iterator[SavedView]:
    """One view for each word of the triage, most urgent first, as far as the run has the scores."""
    from fiftyone import ViewField as F

    field, place, label = (f"{key}_{name}" for name in ("triage", "misattention", "label_quality"))
    if not review_set.has_sample_field(field):
        return
    has_place, has_label = review_set.has_sample_field(place), review_set.has_sample_field(label)
    review_set.create_index(field)
    about = {
        "hard": "the label is suspect and the model looked at the wrong place",
        "re-attend": "the model looked at the wrong place, the label is fine: draw a target",
        "relabel": "the label is suspect, the model looked at the right place",
        "trust": "label and place are both fine",
    }
    for word, text in about.items():
        if (has_place or word not in ("hard", "re-attend")) and (has_label or word not in ("hard", "relabel")):
            order, reverse = (label, False) if word == "relabel" or not has_place else (place, word != "trust")
            view = review_set.match(F(field) == word).sort_by(order, reverse=reverse)
            yield SavedView(f"{key} triage: {word}", view, text, TRIAGE_COLORS[word])


def _ranked_views(review_set: Any, key: str) -> Iterator[SavedView]:
    from fiftyone import ViewField as F

    if review_set.has_sample_field(f"{key}_misattention"):
        text = "images whose answers teach: all but test images, those with the most likely wrong place first"
        ranked = without_test(review_set, _ranked(review_set, key, "misattention", True))
        yield SavedView(f"{key} misattended", ranked, text, "#FF6D04")
    label = F(label_path(review_set))
    wrong = label.exists() & (F(f"{key}_prediction.label") != label)
    text = "the predicted class differs from the label"
    predicted = review_set.exists(f"{key}_prediction")
    yield SavedView(f"{key} wrong", predicted.match(wrong), text, "#D32F2F")
    if review_set.has_sample_field(f"{key}_label_quality"):
        text = "all images, those with the most likely wrong label first"
        yield SavedView(f"{key} suspect labels", _ranked(review_set, key, "label_quality", False), text, "#8E24AA")
    text = "all images, those with the smallest margin between the first two classes first"
    yield SavedView(f"{key} unsure", _ranked(review_set, key, "margin", False), text, "#1E88E5")
    if review_set.has_sample_field(f"{key}_background_shortcut"):
        named = review_set.match(F(f"{key}_outside_correct") == 1)
        view = named.sort_by(f"{key}_background_shortcut", reverse=True)
        text = "classified correctly without the rectangle's content; classes with the most such images first"
        yield SavedView(f"{key} background shortcut", view, text, "#00897B")


def _duplicate_views(review_set: Any, key: str) -> Iterator[SavedView]:
    """Near-duplicates side by side, and those that are in several splits."""
    group = f"{key}_duplicate_group"
    if not review_set.has_sample_field(group):
        return
    text = "the same photograph more than once, by its pixels; duplicates side by side"
    yield SavedView(f"{key} near-duplicates", review_set.exists(group).sort_by(group), text, "#6D4C41")
    leaked = review_set.exists(f"{key}_leak").sort_by(group)
    text = "the same photograph is in another split and makes the metrics too optimistic"
    yield SavedView(f"{key} split leakage", leaked, text, "#6D4C41")


def _pair_view(review_set: Any, key: str, first: str, second: str) -> SavedView:
    from fiftyone import ViewField as F

    label, predicted = F(label_path(review_set)), F(f"{key}_prediction.label")
    confused = ((label == first) & (predicted == second)) | ((label == second) & (predicted == first))
    text = "one is predicted as the other; among this run's most frequent confusions"
    return SavedView(f"{key} {first} / {second}", review_set.match(confused), text, "#D32F2F")


def _delete_old_pairs(review_set: Any, key: str) -> None:
    """Delete views of pairs that are no longer frequent, unless the reviewer changed or renamed them."""
    current = pairs_of(review_set, key)
    stored: list[list[str]] = memory(review_set).pair_views.get(key, [])
    if [list(pair) for pair in current] == stored:
        return
    saved_names: list[str] = memory(review_set).views
    for first, second in stored:
        old = _pair_view(review_set, key, first, second)
        if (first, second) in current or old.name not in saved_names:
            continue
        if review_set.has_saved_view(old.name) and review_set.load_saved_view(old.name) == old.view:
            review_set.delete_saved_view(old.name)
            saved_names = [name for name in saved_names if name != old.name]
    pairs = {**memory(review_set).pair_views, key: [list(pair) for pair in current]}
    remember(review_set, views=saved_names, pair_views=pairs)
