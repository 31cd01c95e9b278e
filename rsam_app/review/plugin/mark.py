"""Marking: the decision about the image that is open, or about those that are selected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone.operators.types as types

from rsam_app.review.app.review_queue import Reason, explain, next_sample, queue_of
from rsam_app.review.decisions.marks import Marked, mark, undo
from rsam_app.review.plugin.base import (
    OneClickOperator,
    ReviewOperator,
    button_above_grid,
    count_images,
    described,
    key_of,
)
from rsam_app.system.errors import UserError

MEANINGS = {
    "right": "the model looked at the right place",
    "accept": "the same, and its rectangle becomes a training target",
    "wrong place": "the model looked at the wrong place",
    "wrong label": "the label is wrong",
    "unsure": "undecided; look again later",
    "exclude": "leave the image out of training",
}


def mark_images(ctx: Any, review_set: Any, decision: str) -> dict[str, Any]:
    """Mark the image that is open and go on to the next, or mark those that are selected.

    Raises `UserError` where there is none.
    """
    key, ids = key_of(ctx), images_meant(ctx)
    reason = f"no rectangle of {key} to accept"
    return decide_and_go_on(ctx, review_set, lambda: mark(review_set, ids, decision, key), f"'{decision}'", reason)


def images_meant(ctx: Any) -> list[str]:
    """Ids of the image that is open, else of those that are selected. Raises `UserError` where there is none."""
    ids = [ctx.current_sample] if ctx.current_sample else list(ctx.selected)
    if not ids:
        raise UserError("Open an image, or select some in the grid, then mark them.")
    return ids


def decide_and_go_on(ctx: Any, review_set: Any, work: Callable[[], Marked], said: str, reason: str) -> dict[str, Any]:
    """Do `work`, go on to the next image where one is open, and tell what was done (`said`), and why images were left
    (`reason`)."""
    key, current = key_of(ctx), ctx.current_sample
    queue = queue_of(review_set, ctx.view, key)
    after = next_sample(queue, current) if current else None
    done = work()
    text = f"{said} on {count_images(len(done.ids))}"
    if current and done.ids and after:
        ctx.ops.open_sample(id=after)
        text = f"{said}. Next: {_in_short(explain(review_set, queue, after, key))}"
    elif current and done.ids:
        text += ", the last one here without a mark"
    elif not current:
        ctx.ops.clear_selected_samples()
    _tell(ctx, done, text, reason)
    ctx.ops.reload_samples()
    return {"marked": len(done.ids), "left": done.left, "next": after}


def undo_mark(ctx: Any, review_set: Any) -> dict[str, Any]:
    """Take back the last mark, and open its image again where one is open."""
    done = undo(review_set)
    _tell(ctx, done, f"'{done.mark}' taken back on {count_images(len(done.ids))}", "changed since, left as it is")
    if ctx.current_sample and len(done.ids) == 1:
        ctx.ops.open_sample(id=done.ids[0])
    elif not ctx.current_sample:
        ctx.ops.set_selected_samples(done.ids)  # so that she sees which
    ctx.ops.reload_samples()
    return {"undone": len(done.ids), "mark": done.mark, "left": done.left}


def go_on(ctx: Any, review_set: Any) -> dict[str, Any]:
    """Open the next image of the queue that has no mark; the one that is open is skipped."""
    following = next_sample(queue_of(review_set, ctx.view, key_of(ctx)), ctx.current_sample)
    if following is None:
        ctx.ops.notify("Every other image here has a mark.", variant="success")
    else:
        ctx.ops.open_sample(id=following)
    return {"next": following}


def _in_short(reason: Reason) -> str:
    """What put it here; label and prediction stand on the image itself."""
    return reason.lines[0].replace("**", "")


def _tell(ctx: Any, done: Marked, text: str, reason: str) -> None:
    if done.left:
        names = ", ".join(done.left[:3]) + (" …" if len(done.left) > 3 else "")
        ctx.ops.notify(f"{text}; {count_images(len(done.left))}: {reason} ({names})", variant="warning")
    else:
        ctx.ops.notify(text, variant="success")


class Mark(ReviewOperator):
    """Any decision, chosen in a form."""

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        return described(
            name="mark", label="RSAM: mark images …", icon="rate_review", description="What you decided about images"
        )

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Which decision."""
        choices = types.RadioGroup()
        for decision in MEANINGS:
            choices.add_choice(decision, label=decision, description=MEANINGS[decision])
        inputs.enum("decision", choices.values(), label="Decision", required=True, view=choices)
        about = "the image that is open" if ctx.current_sample else f"{count_images(len(ctx.selected))} selected"
        inputs.md(f"About {about}. Keys 1 to 6 do the same, and 7 takes the suggested label.", name="about")

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return button_above_grid(ctx, "RSAM: mark", "rate_review")

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Mark them."""
        return mark_images(ctx, review_set, str(ctx.params.get("decision")))


class _MarkAs(OneClickOperator):
    name_: str
    decision: str
    icon_: str

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        label = f"RSAM: {self.decision}"
        return described(
            name=self.name_, label=label, icon=self.icon_, description=MEANINGS[self.decision].capitalize()
        )

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Mark the image that is open, or those selected."""
        return mark_images(ctx, review_set, self.decision)


class MarkRight(_MarkAs):
    """The model looked at the right place."""

    name_, decision, icon_ = "mark_right", "right", "check"


class MarkWrongPlace(_MarkAs):
    """The model looked at the wrong place."""

    name_, decision, icon_ = "mark_wrong_place", "wrong place", "wrong_location"


class MarkWrongLabel(_MarkAs):
    """The label is wrong."""

    name_, decision, icon_ = "mark_wrong_label", "wrong label", "label_off"


class MarkUnsure(_MarkAs):
    """Undecided."""

    name_, decision, icon_ = "mark_unsure", "unsure", "help"


class AcceptRectangle(_MarkAs):
    """The model's rectangle becomes a training target."""

    name_, decision, icon_ = "accept_rectangle", "accept", "crop_free"


class Undo(OneClickOperator):
    """Take back the last mark."""

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        return described(name="undo", label="RSAM: undo the last mark", icon="undo")

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Take it back."""
        return undo_mark(ctx, review_set)


class NextImage(OneClickOperator):
    """Open the next image of the queue."""

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        return described(name="next_image", label="RSAM: next image without a mark", icon="skip_next")

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Open it."""
        return go_on(ctx, review_set)
