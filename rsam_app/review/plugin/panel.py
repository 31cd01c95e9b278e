"""Panel 'RSAM review': the queue, the reason for the next image, and buttons to decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from rsam_app.review.app.layout import REVIEW_PANEL
from rsam_app.review.app.review_queue import count, explain, next_sample, queue_of, sorted_by
from rsam_app.review.dataset.schema import memory
from rsam_app.review.plugin.base import key_of, review_set_of
from rsam_app.review.plugin.keys import LABEL, MARKS, NEXT, TAKE, UNDO
from rsam_app.review.plugin.label import ask_for_label, take_suggestion
from rsam_app.review.plugin.mark import ICONS, WITHOUT_RUN, mark_images, open_next, undo_mark
from rsam_app.run.folder import LABELLING, RunFolder
from rsam_app.run.outlook import read_outlook
from rsam_app.system.errors import UserError

HELP = """Images come in the order of the open view, else by misattention. A mark records your decision; a box drawn in
`attention_target` and an edited label are decisions too. `rsam apply RUN` reads them all."""
TEACHES = """In the next round **1** keeps this rectangle and looks for the like, **2** looks elsewhere, **5** and a box
that you draw count most, **7** and **l** change the label, **6** leaves the image out; **3** and **4** alone teach
nothing. Decisions about validation images correct what is measured; test images stay as they are."""
ROWS = (("right", "accept"), ("wrong place", "wrong label"), ("unsure", "exclude"))
WITHOUT_RUN_ROWS = (WITHOUT_RUN,)
DONE = "Every image here has a mark. Open another saved view, or run `rsam apply`."
BATCH_DONE = "Every image here has a label or a mark."
TRAINS = """`rsam run {}` trains with the labels given so far. **6** leaves the image out of training; **4** leaves it
without a label for now."""
AT_RANDOM = """The batch is drawn at random and nothing is suggested until the features of all photographs are computed;
the terminal shows how far that is, and this panel says when they are ready."""
READY = """The features of all photographs are ready: batch {} represents most others. Labels are suggested once two
classes have an image."""
LOOK_AGAIN = 3000
"""Milliseconds after which the panel looks whether the features are ready."""
KEY_OF = {decision: key for key, decision in MARKS.items()}


class ReviewPanel(foo.Panel):
    """The panel, beside the grid and beside an open image."""

    config = foo.PanelConfig(
        name=REVIEW_PANEL, label="RSAM review", icon="rate_review", surfaces="grid modal", help_markdown=HELP
    )

    def on_load(self, ctx: Any) -> None:
        """Do nothing: FiftyOne calls `render` after each event, and `render` reads everything from the database."""

    on_change_view = on_change_current_sample = on_change_selected = on_change_dataset = on_load

    def decide(self, ctx: Any) -> None:
        """Mark with the button's decision."""
        _notify_errors(ctx, lambda: mark_images(ctx, review_set_of(ctx), str(ctx.params.get("decision"))))

    def take(self, ctx: Any) -> None:
        """Take the suggested label."""
        _notify_errors(ctx, lambda: take_suggestion(ctx, review_set_of(ctx)))

    def label(self, ctx: Any) -> None:
        """Ask for any label."""
        _notify_errors(ctx, lambda: ask_for_label(ctx))

    def undo(self, ctx: Any) -> None:
        """Undo the last mark."""
        _notify_errors(ctx, lambda: undo_mark(ctx, review_set_of(ctx)))

    def next_image(self, ctx: Any) -> None:
        """Open the next image without marking this one."""
        _notify_errors(ctx, lambda: open_next(ctx, review_set_of(ctx)))

    def look_again(self, ctx: Any) -> None:
        """Tell when the features of photographs are ready, and show the batch that was chosen by them."""
        review_set = review_set_of(ctx)
        review_set.reload()
        labelling = memory(review_set).labelling
        if labelling and not labelling.at_random:
            ctx.ops.notify(READY.format(labelling.batch).replace("\n", " "), variant="success")
            # Only this lists the images of the view again; an open image is left alone.
            (ctx.ops.reload_samples if ctx.current_sample else ctx.ops.reload_dataset)()

    def render(self, ctx: Any) -> Any:
        """Return the queue and its next image, or the reason why there is none."""
        panel = types.Object()
        try:
            self._render(ctx, panel)
        except UserError as error:
            panel.md(str(error), name="problem")
        return types.Property(panel, view=types.GridView(orientation="vertical", gap=1, pad=2))

    def _render(self, ctx: Any, panel: Any) -> None:
        review_set, key = review_set_of(ctx), key_of(ctx)
        queue = queue_of(review_set, ctx.view, key)
        counted, current = count(queue), ctx.current_sample
        labelling = memory(review_set).labelling if key == LABELLING else None
        field = sorted_by(queue)
        order = f"sorted by {field.removeprefix(f'{key}_').replace('_', ' ')}" if field else "in the view's order"
        decided = f" · {counted.by_mark()}" if counted.marks else ""
        of = f"batch {labelling.batch}" if labelling else f"run {key} · {order}"
        panel.md(f"**{counted.left:,} left** of {counted.total:,}{decided} · {of}", name="counts")
        shown = current or next_sample(queue)
        suggested = None
        if shown is None:
            panel.md(BATCH_DONE if labelling else DONE, name="done")
        else:
            reason = explain(review_set, queue, shown, key)
            panel.md("\n\n".join([f"**{reason.title}**", *reason.lines]), name="reason")
            suggested = reason.suggested
        if current:
            self._decision_buttons(panel, suggested, WITHOUT_RUN_ROWS if labelling else ROWS)
            panel.md(TRAINS.format(labelling.pipeline) if labelling else TEACHES, name="teaches")
        row = panel.h_stack("rest", gap=1)
        if shown is not None:
            _button(row, "next", f"{'Skip' if current else 'Open it'} ({NEXT})", "skip_next", self.next_image)
        elif labelling:
            _button(row, "next", f"Next batch ({NEXT})", "skip_next", self.next_image)
        _button(row, "undo", f"Undo ({UNDO})", "undo", self.undo)
        if labelling and labelling.at_random:
            panel.md(AT_RANDOM, name="outlook")
            timer = types.TimerView(interval=LOOK_AGAIN, on_interval=self.look_again)
            panel.view("look_again", timer)
        elif labelling and not suggested and not counted.marks and shown is not None:
            panel.md(READY.format(labelling.batch), name="outlook")
        elif not labelling and (outlook := read_outlook(RunFolder(Path(memory(review_set).runs[key].path)))):
            panel.md(outlook.sentence(), name="outlook")

    def _decision_buttons(self, panel: Any, suggested: str | None, rows: Sequence[Sequence[str]]) -> None:
        for number, decisions in enumerate(rows):
            row = panel.h_stack(f"decisions_{number}", gap=1)
            for decision in decisions:
                label = f"{decision.capitalize()} ({KEY_OF[decision]})"
                name, params = decision.replace(" ", "_"), {"decision": decision}
                _button(row, name, label, ICONS[decision], self.decide, params)
        row = panel.h_stack("labels", gap=1)
        if suggested:
            _button(row, "take", f"Take {suggested} ({TAKE})", "new_label", self.take)
        _button(row, "label", f"Give a label ({LABEL})", "label", self.label)


def _button(row: Any, name: str, label: str, icon: str, on_click: Any, params: Any = None) -> None:
    row.btn(name, label=label, icon=icon, variant="outlined", on_click=on_click, params=params)


def _notify_errors(ctx: Any, work: Callable[[], object]) -> None:
    try:
        work()
    except UserError as error:
        ctx.ops.notify(str(error), variant="error")
