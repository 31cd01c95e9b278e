"""Labels: the one that is suggested, or any other, for the image that is open or those that are selected."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import fiftyone.operators.types as types

from rsam_app.review.analysis.suggested_labels import suggestions
from rsam_app.review.dataset.schema import memory
from rsam_app.review.decisions.marks import Marked, mark
from rsam_app.review.plugin.base import (
    PLUGIN,
    OneClickOperator,
    ReviewOperator,
    button_above_grid,
    count_images,
    described,
    key_of,
)
from rsam_app.review.plugin.mark import decide_and_go_on, images_meant
from rsam_app.system.errors import UserError


def take_suggestion(ctx: Any, review_set: Any) -> dict[str, Any]:
    """Give the image that is open, or each that is selected, the label that is believed; an image that has one already
    is marked 'wrong label', else 'labelled'.

    Raises `UserError` where there is no image, or none for which another label is believed.
    """
    ids = images_meant(ctx)
    labels = {i: found.label for i, found in suggestions(review_set, ids, key_of(ctx)).items()}
    if not labels:
        which = "this image" if ctx.current_sample else "these images"
        raise UserError(f"For {which} no other label is suggested. Give one with the key l, or mark it with 3.")
    names = sorted(set(labels.values()))
    said = f"label '{names[0]}'" if len(names) == 1 else f"{len(names)} labels"
    return _label(ctx, review_set, ids, labels, f"{said} taken", "no other label is suggested")


def give_label(ctx: Any, review_set: Any, label: str) -> dict[str, Any]:
    """Give the image that is open, or each that is selected, this label; marked as by `take_suggestion`.

    Raises `UserError` where there is no image, all have that label, or it is no class of the dataset.
    """
    classes = memory(review_set).get("classes", [])
    if label not in classes:
        close = difflib.get_close_matches(label, classes, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"label {label!r}: no class of this dataset.{hint}")
    ids = images_meant(ctx)
    given = zip(*review_set.select(ids).values(["id", "ground_truth.label"]), strict=True)
    labels = {i: label for i, held in given if held != label}
    if not labels:
        raise UserError(f"Nothing to change: the label is {label!r} already.")
    return _label(ctx, review_set, ids, labels, f"label '{label}'", "has that label already")


def ask_for_label(ctx: Any) -> dict[str, Any]:
    """Open the form of `GiveLabel`; what the key for it does."""
    images_meant(ctx)
    ctx.prompt(f"{PLUGIN}/give_label")
    return {}


def _label(
    ctx: Any, review_set: Any, ids: list[str], labels: Mapping[str, str], said: str, reason: str
) -> dict[str, Any]:
    def work() -> Marked:
        done = mark(review_set, list(labels), "wrong label", key_of(ctx), labels=labels)
        others = [i for i in ids if i not in labels]
        left = review_set.select(others).values("record_id") if others else []
        return Marked(done.mark, done.ids, [*done.left, *(name or "an image of yours" for name in left)])

    return decide_and_go_on(ctx, review_set, work, said, reason)


class TakeSuggestion(OneClickOperator):
    """The label that is believed becomes the image's."""

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        about = "The label that is believed instead of the given one becomes the image's"
        return described(
            name="take_suggestion", label="RSAM: take the suggested label", icon="new_label", description=about
        )

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Give it to the image that is open, or those selected."""
        return take_suggestion(ctx, review_set)


class GiveLabel(ReviewOperator):
    """Any class, chosen in a form that completes what is typed."""

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        about = "Say what an image shows: one without a label, or one whose label is wrong"
        return described(name="give_label", label="RSAM: give a label …", icon="label", description=about)

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Which class, the suggested one to begin with."""
        ids = images_meant(ctx)
        believed = {found.label for found in suggestions(review_set, ids, key_of(ctx)).values()}
        choices = types.AutocompleteView()
        for name in memory(review_set).get("classes", []):
            choices.add_choice(name, label=name)
        first = believed.pop() if len(believed) == 1 else None
        inputs.enum("label", choices.values(), label="Label", required=True, default=first, view=choices)
        about = "the image that is open" if ctx.current_sample else f"{count_images(len(ids))} selected"
        inputs.md(f"For {about}.", name="about")

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return button_above_grid(ctx, "RSAM: give a label", "label")

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Give it."""
        return give_label(ctx, review_set, str(ctx.params.get("label")))
