"""Keys: what `plugin/keys.js` hands on. Only JavaScript can bind a key in FiftyOne's App; what it means stands here."""

from __future__ import annotations

from typing import Any

from rsam_app.review.plugin.base import OneClickOperator, described, is_ours
from rsam_app.review.plugin.label import ask_for_label, take_suggestion
from rsam_app.review.plugin.mark import go_on, mark_images, undo_mark

MARKS = {"1": "right", "2": "wrong place", "3": "wrong label", "4": "unsure", "5": "accept", "6": "exclude"}
TAKE, LABEL, UNDO, NEXT = "7", "l", "0", "n"


class Key(OneClickOperator):
    """What a key does; nothing on datasets that are not RSAM's, where keys are not ours to take."""

    @property
    def config(self) -> Any:
        """How FiftyOne knows it; nobody calls it by name."""
        return described(name="key", label="RSAM: a key was pressed", unlisted=True)

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Do what the key means."""
        return super().execute(ctx) if is_ours(ctx) else {}

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Mark, label, undo, or go on."""
        key = ctx.params.get("key")
        if key in MARKS:
            return mark_images(ctx, review_set, MARKS[key])
        if key == TAKE:
            return take_suggestion(ctx, review_set)
        if key == LABEL:
            return ask_for_label(ctx)
        if key == UNDO:
            return undo_mark(ctx, review_set)
        return go_on(ctx, review_set) if key == NEXT else {}
