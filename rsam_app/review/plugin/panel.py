"""The panel 'RSAM review': the queue, why the next image is in it, and buttons to decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from rsam_app.review.app.layout import REVIEW_PANEL
from rsam_app.review.app.review_queue import count, explain, next_sample, queue_of, sorted_by
from rsam_app.review.plugin.base import key_of, review_set_of
from rsam_app.review.plugin.keys import LABEL, MARKS, NEXT, TAKE, UNDO
from rsam_app.review.plugin.label import ask_for_label, take_suggestion
from rsam_app.review.plugin.mark import go_on, mark_images, undo_mark
from rsam_app.system.errors import UserError

HELP = """Images come in the order of the view that is open, or by misattention. A mark says what you decided; a drawn
box (`attention_target`) or an edited label is a decision of its own. `rsam apply RUN` reads them all."""
ROWS = (("right", "accept"), ("wrong place", "wrong label"), ("unsure", "exclude"))
ICONS = {
    "right": "check",
    "accept": "crop_free",
    "wrong place": "wrong_location",
    "wrong label": "label_off",
    "unsure": "help",
    "exclude": "block",
}
KEY_OF = {decision: key for key, decision in MARKS.items()}


class ReviewPanel(foo.Panel):
    """Beside the grid and beside an open image."""

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        return foo.PanelConfig(
            name=REVIEW_PANEL, label="RSAM review", icon="rate_review", surfaces="grid modal", help_markdown=HELP
        )

    def on_load(self, ctx: Any) -> None:
        """Nothing to prepare: everything shown is read from the database when it is drawn."""

    def on_change_view(self, ctx: Any) -> None:
        """Draw again: another queue."""

    def on_change_current_sample(self, ctx: Any) -> None:
        """Draw again: another image."""

    def on_change_selected(self, ctx: Any) -> None:
        """Draw again: marking what was selected ends the selection."""

    def on_change_dataset(self, ctx: Any) -> None:
        """Draw again: another dataset."""

    def decide(self, ctx: Any) -> None:
        """A decision's button."""
        _say_errors(ctx, lambda: mark_images(ctx, review_set_of(ctx), str(ctx.params.get("decision"))))

    def take(self, ctx: Any) -> None:
        """The button that gives the image the label that is believed."""
        _say_errors(ctx, lambda: take_suggestion(ctx, review_set_of(ctx)))

    def label(self, ctx: Any) -> None:
        """The button that asks for any label."""
        _say_errors(ctx, lambda: ask_for_label(ctx))

    def undo(self, ctx: Any) -> None:
        """The button that takes the last mark back."""
        _say_errors(ctx, lambda: undo_mark(ctx, review_set_of(ctx)))

    def next_image(self, ctx: Any) -> None:
        """The button that goes on without a mark."""
        _say_errors(ctx, lambda: go_on(ctx, review_set_of(ctx)))

    def render(self, ctx: Any) -> Any:
        """The queue and its next image, or why there is none."""
        panel = types.Object()
        try:
            self._draw(ctx, panel)
        except UserError as error:
            panel.md(str(error), name="problem")
        return types.Property(panel, view=types.GridView(orientation="vertical", gap=1, pad=2))

    def _draw(self, ctx: Any, panel: Any) -> None:
        review_set, key = review_set_of(ctx), key_of(ctx)
        queue = queue_of(review_set, ctx.view, key)
        counted, current = count(queue), ctx.current_sample
        order = (sorted_by(queue) or "the view").removeprefix(f"{key}_").replace("_", " ")
        heading = f"**{counted.left:,} left** of {counted.total:,} · run {key} · in the order of {order}"
        panel.md(heading, name="counts")
        shown = current or next_sample(queue)
        suggested = None
        if shown is None:
            panel.md("Every image here has a mark. Open another saved view, or run `rsam apply`.", name="done")
        else:
            reason = explain(review_set, queue, shown, key)
            panel.md("\n\n".join([f"**{reason.title}**", *reason.lines]), name="reason")
            suggested = reason.suggested
        if current:
            for number, row in enumerate(ROWS):
                buttons = panel.h_stack(f"decisions_{number}", gap=1)
                for decision in row:
                    params = {"decision": decision}
                    label = f"{decision.capitalize()} ({KEY_OF[decision]})"
                    self._button(buttons, decision.replace(" ", "_"), label, ICONS[decision], self.decide, params)
            labels = panel.h_stack("labels", gap=1)
            if suggested:
                self._button(labels, "take", f"Take {suggested} ({TAKE})", "new_label", self.take)
            self._button(labels, "label", f"Give a label ({LABEL})", "label", self.label)
        rest = panel.h_stack("rest", gap=1)
        if shown is not None:
            label = f"Skip ({NEXT})" if current else f"Look at it ({NEXT})"
            self._button(rest, "next", label, "skip_next", self.next_image)
        self._button(rest, "undo", f"Undo ({UNDO})", "undo", self.undo)

    def _button(self, row: Any, name: str, label: str, icon: str, on_click: Any, params: Any = None) -> None:
        row.btn(name, label=label, icon=icon, variant="outlined", on_click=on_click, params=params)


def _say_errors(ctx: Any, work: Callable[[], object]) -> None:
    try:
        work()
    except UserError as error:
        ctx.ops.notify(str(error), variant="error")
