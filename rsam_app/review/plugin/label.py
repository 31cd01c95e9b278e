"""Operators for labels: take the suggested one, give any other, and rename or merge classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fiftyone.operators.types as types

from rsam_app.review.analysis.suggested_labels import suggestions
from rsam_app.review.dataset.class_list import add_classes, class_to_give
from rsam_app.review.dataset.class_names import rename_class
from rsam_app.review.dataset.guest import label_path
from rsam_app.review.dataset.schema import memory
from rsam_app.review.decisions.marks import MarkResult, mark
from rsam_app.review.plugin.base import PLUGIN, OneClickOperator, ReviewOperator, add_choice, key_of, listed
from rsam_app.review.plugin.mark import describe_chosen, mark_and_advance, sample_ids_of
from rsam_app.run.folder import LABELLING
from rsam_app.system.errors import UserError


def take_suggestion(ctx: Any, review_set: Any) -> dict[str, Any]:
    """Give the open image, or each selected one, its suggested label and mark it 'wrong label', or 'labelled' if it had
    no label.

    Raises `UserError` if there is no image, or none with a suggestion.
    """
    ids = sample_ids_of(ctx)
    labels = {i: suggestion.label for i, suggestion in suggestions(review_set, ids, key_of(ctx)).items()}
    if not labels:
        which = "this image" if ctx.current_sample else "these images"
        raise UserError(f"No other label is suggested for {which}. Press l to give one, or 3 to mark it.")
    names = sorted(set(labels.values()))
    summary = f"label '{names[0]}'" if len(names) == 1 else f"{len(names)} labels"
    return _label(ctx, review_set, ids, labels, f"{summary} set", "no other label is suggested")


def give_label(ctx: Any, review_set: Any, typed: str, new: bool = False) -> dict[str, Any]:
    """Give the open image, or each selected one, the class that `typed` names (see `class_to_give`), if `new` also one
    that the dataset lacks; marks as `take_suggestion` does.

    Raises `UserError` if there is no image, all have that label, or it is not a class of the dataset.
    """
    review_set.reload()  # another reviewer may have added classes
    known = memory(review_set)
    classes = known.classes
    label = class_to_give(known.class_names.get(typed, typed), classes, new)
    ids = sample_ids_of(ctx)
    current = zip(*review_set.select(ids).values(["id", label_path(review_set)]), strict=True)
    labels = {i: label for i, before in current if before != label}
    if not labels:
        raise UserError(f"Nothing to change: the label is already {label!r}.")
    what = "label" if label in classes else "new class"
    return _label(ctx, review_set, ids, labels, f"{what} '{label}' set", "has that label already")


def ask_for_label(ctx: Any) -> dict[str, Any]:
    """Open the form of `GiveLabel`."""
    sample_ids_of(ctx)
    ctx.prompt(f"{PLUGIN}/give_label")
    return {}


def _label(
    ctx: Any, review_set: Any, ids: list[str], labels: Mapping[str, str], summary: str, reason: str
) -> dict[str, Any]:
    def work() -> MarkResult:
        add_classes(review_set, labels.values())
        result = mark(review_set, list(labels), "wrong label", key_of(ctx), labels=labels)
        others = [i for i in ids if i not in labels]
        left = review_set.select(others).values("record_id") if others else []
        return MarkResult(result.mark, result.ids, [*result.left, *(name or "an image you added" for name in left)])

    return mark_and_advance(ctx, review_set, work, summary, reason)


class RenameClass(ReviewOperator):
    """Rename a class, or make two classes one."""

    config = listed(
        "rename_class",
        "RSAM: rename or merge a class …",
        "drive_file_rename_outline",
        "Give a class another name in all splits; the name of another class merges the two",
    )

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Ask for the class and its new name."""
        classes = {name: name for name in memory(review_set).classes}
        path = label_path(review_set)
        given = review_set.select(ctx.current_sample).values(path) if ctx.current_sample else [None]
        default = given[0] if given[0] in classes else None
        view = types.AutocompleteView()
        add_choice(inputs, "class", "Class", classes, view=view, default=default, required=True)
        inputs.str("name", label="New name", required=True)
        about = "If another class has this name, make the two one class; the files tell them apart again after an undo"
        inputs.bool("merge", label="Merge", description=about, default=False)

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Rename or merge."""
        name, typed = (str(ctx.params.get(field) or "") for field in ("class", "name"))
        before = set(memory(review_set).classes)
        new, images = rename_class(review_set, name, typed, bool(ctx.params.get("merge")))
        done = f"merged into '{new}'" if new in before else f"renamed to '{new}'"
        ctx.ops.reload_dataset()
        ctx.ops.notify(f"'{name}' {done}: {images:,} images. The next round learns it.", variant="success")
        return {"name": new, "images": images}


class TakeSuggestion(OneClickOperator):
    """Make the suggested label the image's."""

    config = listed(
        "take_suggestion", "RSAM: take the suggested label", "new_label", "Replace the label with the suggested one"
    )

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Label the open image, or the selected ones."""
        return take_suggestion(ctx, review_set)


class GiveLabel(ReviewOperator):
    """Give any class, chosen in a form that completes what is typed, or a new one."""

    config = listed("give_label", "RSAM: give a label …", "label", "Label an image, or correct its label")
    above_grid = True

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Ask for the class; a run's suggestion is filled in. Before there is a run most labels are typed, and what is
        filled in would stay behind what is typed."""
        ids = sample_ids_of(ctx)
        suggested = {suggestion.label for suggestion in suggestions(review_set, ids, key_of(ctx)).values()}
        labelling = memory(review_set).labelling if key_of(ctx) == LABELLING else None
        default = suggested.pop() if len(suggested) == 1 and not labelling else None
        classes = {name: name for name in memory(review_set).classes}
        view = types.AutocompleteView()
        add_choice(inputs, "label", "Label", classes, view=view, default=default, required=True)
        about = "Add it to the classes if none has this name; the next round learns it"
        expects_new = labelling is not None and not labelling.offered  # with `--classes` a new name may be a slip
        inputs.bool("new_class", label="New class", description=about, default=expects_new)
        inputs.md(f"For {describe_chosen(ctx)}.", name="about")

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Label the open image, or the selected ones."""
        return give_label(ctx, review_set, str(ctx.params.get("label") or ""), bool(ctx.params.get("new_class")))
