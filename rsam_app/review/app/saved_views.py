"""Saved views: where a reviewer starts. They store what to look for and not what was found, so they stay live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from rsam_app.data.records import UNLABELLED
from rsam_app.review.analysis.derived_fields import pairs_of
from rsam_app.review.analysis.triage import TRIAGE_COLORS
from rsam_app.review.dataset.schema import memory, remember, run_keys
from rsam_app.review.decisions.read import is_decided
from rsam_app.system.files import fingerprint


class SavedView(NamedTuple):
    """A view by its name in the App."""

    name: str
    view: Any
    description: str
    color: str


def save_views(review_set: Any, key: str) -> list[str]:
    """Save the views of the run `key` and those of the dataset; returns the names of those that are new.

    A view is made once, and made anew where a later version asks otherwise. One that the person changed stays as she
    left it, and one that she renamed or deleted, or whose name she had taken, does not come (back). Views of confusion
    pairs that are no longer among the most frequent go, unless she changed them.
    """
    from fiftyone.core.utils import to_slug

    _forget_old_pairs(review_set, key)
    made: list[str] = memory(review_set).get("views", [])
    asked: dict[str, str] = memory(review_set).get("view_stages", {})
    taken = {to_slug(name) for name in review_set.list_saved_views()}
    new, now = [], {}
    for saved in _views(review_set, key):
        now[saved.name] = _stages(saved.view)
        if saved.name in made:
            if now[saved.name] != asked.get(saved.name):
                _renew(review_set, saved, {asked.get(saved.name), *map(_stages, _earlier(review_set, key, saved.name))})
        elif to_slug(saved.name) not in taken:
            _save(review_set, saved)
            taken.add(to_slug(saved.name))
            new.append(saved.name)
    if new or {**asked, **now} != asked:
        remember(review_set, views=[*made, *new], view_stages={**asked, **now})
    return new


def _save(review_set: Any, saved: SavedView) -> None:
    more = {"description": saved.description, "color": saved.color}
    review_set.save_view(saved.name, saved.view, overwrite=True, **more)


def _stages(view: Any) -> str:
    """A fingerprint of what a view asks."""
    return fingerprint(view._serialize(include_uuids=False))


def _renew(review_set: Any, saved: SavedView, ours: set[str | None]) -> None:
    """Save the view anew where it still asks what we asked before (`ours`)."""
    if not review_set.has_saved_view(saved.name):
        return
    if _stages(review_set.load_saved_view(saved.name)) in ours:
        _save(review_set, saved)


def _earlier(review_set: Any, key: str, name: str) -> Iterator[Any]:
    """What versions that did not remember it asked under this name."""
    from fiftyone import ViewField as F

    if name == f"{key} split leakage":  # when near-duplicates were told by a cosine
        yield review_set.match(F(f"{key}_leak") >= 0.97).sort_by(f"{key}_duplicate_group")


def first_view(review_set: Any) -> str | None:
    """The view to begin with: the latest run's misattended images, where it has such scores and she kept the view."""
    names = (f"{key} misattended" for key in run_keys(review_set)[:1])
    return next((name for name in names if review_set.has_saved_view(name)), None)


def _views(review_set: Any, key: str) -> Iterator[SavedView]:
    from fiftyone import ViewField as F

    yield from _triage_views(review_set, key)
    yield from _ranked_views(review_set, key)
    yield from _alike_views(review_set, key)
    yield from (_pair_view(review_set, key, *pair) for pair in pairs_of(review_set, key))
    yield SavedView(
        "to relabel", review_set.match_tags("relabel"), "tagged 'relabel', by `rsam select` or by you", "#FBC02D"
    )
    if len(unlabelled := review_set.match((F("split") == UNLABELLED) & ~F("ground_truth").exists())):
        text = "no label yet: `rsam select --split unlabelled` chooses which to label first"
        yield SavedView("without a label", unlabelled, text, "#78909C")
    text = "you marked it, edited its label or drew a target; `rsam apply` reads it"
    yield SavedView("decided", review_set.match(is_decided([])), text, "#43A047")


def _ranked(review_set: Any, key: str, score: str, reverse: bool) -> Any:
    field = f"{key}_{score}"
    review_set.create_index(field)
    return review_set.exists(field).sort_by(field, reverse=reverse)


def _triage_views(review_set: Any, key: str) -> Iterator[SavedView]:
    """One view a word of the triage, most urgent first; those about the place only where the run has any."""
    from fiftyone import ViewField as F

    field, place, label = (f"{key}_{name}" for name in ("triage", "misattention", "label_quality"))
    if not review_set.has_sample_field(field):
        return
    has_place, has_label = review_set.has_sample_field(place), review_set.has_sample_field(label)
    review_set.create_index(field)
    about = {
        "hard": "the label is suspect and the model looked in the wrong place",
        "re-attend": "the model looked in the wrong place, its label is fine: draw a target",
        "relabel": "the label is suspect, the model looked in the right place",
        "trust": "nothing speaks against label or place",
    }
    for word, text in about.items():
        if (has_place or word not in ("hard", "re-attend")) and (has_label or word not in ("hard", "relabel")):
            order, reverse = (label, False) if word == "relabel" or not has_place else (place, word != "trust")
            view = review_set.match(F(field) == word).sort_by(order, reverse=reverse)
            yield SavedView(f"{key} triage: {word}", view, text, TRIAGE_COLORS[word])


def _ranked_views(review_set: Any, key: str) -> Iterator[SavedView]:
    from fiftyone import ViewField as F

    if review_set.has_sample_field(f"{key}_misattention"):
        text = "where the model most likely looked in the wrong place, worst first"
        yield SavedView(f"{key} misattended", _ranked(review_set, key, "misattention", True), text, "#FF6D04")
    wrong = F("ground_truth.label").exists() & (F(f"{key}_prediction.label") != F("ground_truth.label"))
    text = "the model's class is not the label"
    predicted = review_set.exists(f"{key}_prediction")
    yield SavedView(f"{key} wrong", predicted.match(wrong), text, "#D32F2F")
    if review_set.has_sample_field(f"{key}_label_quality"):
        text = "labels that are most likely mistaken, worst first"
        yield SavedView(f"{key} suspect labels", _ranked(review_set, key, "label_quality", False), text, "#8E24AA")
    text = "the smallest margin between the first and the second class first"
    yield SavedView(f"{key} unsure", _ranked(review_set, key, "margin", False), text, "#1E88E5")
    if review_set.has_sample_field(f"{key}_background_shortcut"):
        named = review_set.match(F(f"{key}_outside_correct") == 1)
        view = named.sort_by(f"{key}_background_shortcut", reverse=True)
        text = "the class is named without what is in the rectangle; classes where that happens most often first"
        yield SavedView(f"{key} background shortcut", view, text, "#00897B")


def _alike_views(review_set: Any, key: str) -> Iterator[SavedView]:
    """Near-duplicates beside each other, and those of them that lie in several splits."""
    group = f"{key}_duplicate_group"
    if not review_set.has_sample_field(group):
        return
    text = "the same photograph again, perhaps altered, by its pixels; alike ones beside each other"
    yield SavedView(f"{key} near-duplicates", review_set.exists(group).sort_by(group), text, "#6D4C41")
    leaked = review_set.exists(f"{key}_leak").sort_by(group)
    text = "the same photograph is in another split: what is measured there flatters the model"
    yield SavedView(f"{key} split leakage", leaked, text, "#6D4C41")


def _pair_view(review_set: Any, key: str, first: str, second: str) -> SavedView:
    from fiftyone import ViewField as F

    label, predicted = F("ground_truth.label"), F(f"{key}_prediction.label")
    confused = ((label == first) & (predicted == second)) | ((label == second) & (predicted == first))
    text = "one is taken for the other; among the most frequent confusions of this run"
    return SavedView(f"{key} {first} / {second}", review_set.match(confused), text, "#D32F2F")


def _forget_old_pairs(review_set: Any, key: str) -> None:
    """Delete views of pairs that are no longer frequent; one that she renamed, changed or deleted is hers."""
    now = pairs_of(review_set, key)
    known: list[list[str]] = memory(review_set).get("pair_views", {}).get(key, [])
    if [list(pair) for pair in now] == known:
        return
    made: list[str] = memory(review_set).get("views", [])
    for first, second in known:
        old = _pair_view(review_set, key, first, second)
        if (first, second) in now or old.name not in made:
            continue
        if review_set.has_saved_view(old.name) and review_set.load_saved_view(old.name) == old.view:
            review_set.delete_saved_view(old.name)
            made = [name for name in made if name != old.name]
    pairs = {**memory(review_set).get("pair_views", {}), key: [list(pair) for pair in now]}
    remember(review_set, views=made, pair_views=pairs)
