"""Operators for marks: decide about the open image or the selected ones, undo, and open the next image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone.operators.types as types

from rsam_app.review.app.review_queue import explain, next_sample, queue_of
from rsam_app.review.decisions.marks import MarkResult, mark, undo
from rsam_app.review.labelling.batches import is_batch_done, take_batch
from rsam_app.review.labelling.suggest import update_suggestions
from rsam_app.review.plugin.base import OneClickOperator, ReviewOperator, add_choice, count_images, key_of, listed
from rsam_app.run.folder import LABELLING
from rsam_app.system.errors import UserError

MEANINGS = {
    "right": "The model looked at the right place",
    "accept": "The same, and its rectangle becomes a training target",
    "wrong place": "The model looked at the wrong place",
    "wrong label": "The label is wrong",
    "unsure": "Undecided; review it later",
    "exclude": "Leave the image out of training",
}
WITHOUT_RUN = ("unsure", "exclude")
"""Decisions about an image that no run has seen."""
ICONS = {
    "right": "check",
    "accept": "crop_free",
    "wrong place": "wrong_location",
    "wrong label": "label_off",
    "unsure": "help",
    "exclude": "block",
}


def mark_images(ctx: Any, review_set: Any, decision: str) -> dict[str, Any]:
    """Mark the open image and open the next, or mark the selected images. Raises `UserError` if there is none, or no
    run that the decision is about."""
    key, ids = key_of(ctx), sample_ids_of(ctx)
    if key == LABELLING and decision not in WITHOUT_RUN:
        raise UserError(f"'{decision}' is about what a run says, and there is none yet. Give a label (l).")
    reason = f"no rectangle of {key} to accept"
    return mark_and_advance(ctx, review_set, lambda: mark(review_set, ids, decision, key), f"'{decision}'", reason)


def sample_ids_of(ctx: Any) -> list[str]:
    """Ids of the open image, else of the selected ones. Raises `UserError` if there is none, or all were deleted."""
    ids = [ctx.current_sample] if ctx.current_sample else list(ctx.selected)
    if not ids:
        raise UserError("Open an image, or select some in the grid, then mark them.")
    present = set(ctx.dataset.select(ids).values("id"))
    if not present:
        raise UserError("These images were deleted from the dataset. Open the next one (n).")
    return [i for i in ids if i in present]


def describe_chosen(ctx: Any) -> str:
    """Name the images that a form is about."""
    return "the open image" if ctx.current_sample else f"{count_images(len(ctx.selected))} selected"


def mark_and_advance(
    ctx: Any, review_set: Any, work: Callable[[], MarkResult], summary: str, reason: str
) -> dict[str, Any]:
    """Do `work`, open the next image if one is open, and report: `summary` tells what was done, `reason` why images
    were left unchanged."""
    key, current = key_of(ctx), ctx.current_sample
    queue = queue_of(review_set, ctx.view, key)
    following = next_sample(queue, current) if current else None
    result = work()
    text = f"{summary} on {count_images(len(result.ids))}"
    if key == LABELLING and current and result.ids:
        following, summary = _go_on_labelling(review_set, following, summary)
    if current and result.ids and following:
        ctx.ops.open_sample(id=following)
        reasons = explain(review_set, queue, following, key).lines
        text = f"{summary}. Next: {reasons[0].replace('**', '')}" if reasons else f"{summary}."
    elif current and result.ids:
        text += "; no other image here is unmarked"
    elif not current:
        ctx.ops.clear_selected_samples()
    _notify(ctx, result, text, reason)
    ctx.ops.reload_samples()
    return {"marked": len(result.ids), "left": result.left, "next": following}


def _go_on_labelling(review_set: Any, following: str | None, summary: str) -> tuple[str | None, str]:
    """Take the next batch if this one is done, and bring the suggestion of the next image up to date; return its id and
    the text about it."""
    if following is None and is_batch_done(review_set) and (batch := take_batch(review_set)):
        following = next_sample(queue_of(review_set, None, LABELLING))
        summary = f"{summary}. The batch is done; batch {batch.number} has {count_images(len(batch.ids))}"
    if following:
        update_suggestions(review_set, [following])
    return following, summary


def undo_mark(ctx: Any, review_set: Any) -> dict[str, Any]:
    """Undo the last mark; show its image if an image is open, else select its images in the grid."""
    result = undo(review_set)
    _notify(ctx, result, f"'{result.mark}' undone on {count_images(len(result.ids))}", "changed since, left unchanged")
    if ctx.current_sample and len(result.ids) == 1:
        ctx.ops.open_sample(id=result.ids[0])
    elif not ctx.current_sample:
        ctx.ops.set_selected_samples(result.ids)
    ctx.ops.reload_samples()
    return {"undone": len(result.ids), "mark": result.mark, "left": result.left}


def open_next(ctx: Any, review_set: Any) -> dict[str, Any]:
    """Open the next unmarked image of the queue; the open one is skipped. While labelling, take the next batch if this
    one is done."""
    key = key_of(ctx)
    following = next_sample(queue_of(review_set, ctx.view, key), ctx.current_sample)
    if key == LABELLING and following is None:
        following, text = _go_on_labelling(review_set, None, "All have a mark")
        if following:
            ctx.ops.notify(text, variant="success")
            ctx.ops.reload_samples()
    if following is None:
        ctx.ops.notify("Every other image here has a mark.", variant="success")
    else:
        ctx.ops.open_sample(id=following)
    return {"next": following}


def _notify(ctx: Any, result: MarkResult, text: str, reason: str) -> None:
    if result.left:
        names = ", ".join(result.left[:3]) + (" …" if len(result.left) > 3 else "")
        ctx.ops.notify(f"{text}; {count_images(len(result.left))}: {reason} ({names})", variant="warning")
    else:
        ctx.ops.notify(text, variant="success")


class Mark(ReviewOperator):
    """Mark with any decision, chosen in a form."""

    config = listed("mark", "RSAM: mark images …", "rate_review", "Record your decision about images")
    above_grid = True

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Ask for the decision."""
        decisions = {decision: decision for decision in MEANINGS}
        add_choice(inputs, "decision", "Decision", decisions, MEANINGS, types.RadioGroup(), required=True)
        about = f"For {describe_chosen(ctx)}. Keys 1 to 6 do the same; 7 takes the suggested label."
        inputs.md(about, name="about")

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Mark the images."""
        return mark_images(ctx, review_set, str(ctx.params.get("decision")))


class _MarkAs(OneClickOperator):
    decision: str

    def __init_subclass__(cls, name: str, decision: str) -> None:
        cls.decision = decision
        cls.config = listed(name, f"RSAM: {decision}", ICONS[decision], MEANINGS[decision])

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Mark the open image, or the selected ones."""
        return mark_images(ctx, review_set, self.decision)


class MarkRight(_MarkAs, name="mark_right", decision="right"):
    """The model looked at the right place."""


class MarkWrongPlace(_MarkAs, name="mark_wrong_place", decision="wrong place"):
    """The model looked at the wrong place."""


class MarkWrongLabel(_MarkAs, name="mark_wrong_label", decision="wrong label"):
    """The label is wrong."""


class MarkUnsure(_MarkAs, name="mark_unsure", decision="unsure"):
    """Undecided."""


class AcceptRectangle(_MarkAs, name="accept_rectangle", decision="accept"):
    """The model's rectangle becomes a training target."""


class Undo(OneClickOperator):
    """Undo the last mark."""

    config = listed("undo", "RSAM: undo the last mark", "undo")

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Undo it."""
        return undo_mark(ctx, review_set)


class NextImage(OneClickOperator):
    """Open the next unmarked image of the queue."""

    config = listed("next_image", "RSAM: next image without a mark", "skip_next")

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Open it."""
        return open_next(ctx, review_set)
