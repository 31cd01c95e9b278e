"""Apply: decisions become corrections, from the App."""

from __future__ import annotations

from typing import Any

import fiftyone.operators.types as types

from rsam_app.review.plugin.base import ReviewOperator, button_above_grid, choose_run, described, key_of, run_folder_of


class Apply(ReviewOperator):
    """What `rsam apply` does, from the App."""

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        about = "Put your decisions into the corrections table, from which the next training learns"
        return described(name="apply", label="RSAM: apply my decisions …", icon="publish", description=about)

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return button_above_grid(ctx, "RSAM: apply my decisions", "publish")

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """For which run, and in whose name."""
        choose_run(inputs, review_set, key_of(ctx))
        inputs.str("who", label="Your name", description="Kept with the decisions; your login where empty")
        inputs.bool("undo", label="Take back the last apply instead", default=False)

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Add what is new, or take the last addition back."""
        from rsam_app.review.decisions.apply import apply_to, undo_last

        run, key, who = run_folder_of(ctx), key_of(ctx), ctx.params.get("who") or None
        if ctx.params.get("undo"):
            undone = undo_last(run, review_set.name, key, who)
            ctx.ops.reload_samples()
            return {"message": undone.text(), **undone.as_dict()}
        report = apply_to(run, review_set.name, key, who)
        ctx.ops.reload_samples()
        return {"message": report.text(), **report.as_dict()}

    def resolve_output(self, ctx: Any) -> Any:
        """What was added, and what could not be read."""
        outputs = types.Object()
        if "error" in ctx.results:
            outputs.view("failed", types.Error(label="It could not be done", description=ctx.results["error"]))
        else:
            for number, line in enumerate(str(ctx.results.get("message", "")).splitlines()):
                outputs.md(line, name=f"line_{number}")
        return types.Property(outputs, view=types.View(label="RSAM: apply"))
