"""Operator `key`: what the keys of `keys.js` do. FiftyOne's App can bind keys in JavaScript only."""

from __future__ import annotations

from typing import Any

from rsam_app.review.plugin.base import OneClickOperator, is_review_set, listed
from rsam_app.review.plugin.label import ask_for_label, take_suggestion
from rsam_app.review.plugin.mark import mark_images, open_next, undo_mark

MARKS = {"1": "right", "2": "wrong place", "3": "wrong label", "4": "unsure", "5": "accept", "6": "exclude"}
TAKE, LABEL, UNDO, NEXT = "7", "l", "0", "n"


class Key(OneClickOperator):
    """Do what the pressed key stands for; does nothing on datasets that are not RSAM's."""

    config = listed("key", "RSAM: a key was pressed", unlisted=True)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Act on RSAM's datasets only."""
        return super().execute(ctx) if is_review_set(ctx) else {}

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Mark, label, undo, or open the next image."""
        key = ctx.params.get("key")
        if key in MARKS:
            return mark_images(ctx, review_set, MARKS[key])
        if key == TAKE:
            return take_suggestion(ctx, review_set)
        if key == LABEL:
            return ask_for_label(ctx)
        if key == UNDO:
            return undo_mark(ctx, review_set)
        return open_next(ctx, review_set) if key == NEXT else {}
