"""Operator `apply`: `rsam apply` from the App."""

from __future__ import annotations

from typing import Any

import fiftyone.operators.types as types

from rsam_app.review.plugin.base import ReviewOperator, choose_run, key_of, listed, result_view, run_folder_of


class Apply(ReviewOperator):
    """Add the reviewer's decisions to the corrections table, or undo the last addition."""

    config = listed(
        "apply",
        "RSAM: apply my decisions …",
        "publish",
        "Add your decisions to the corrections table that the next training uses",
    )
    above_grid = True

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Ask for the run and the reviewer's name."""
        choose_run(inputs, review_set, key_of(ctx))
        inputs.str(
            "who", label="Your name", description="Stored with the decisions; RSAM_WHO or your login name if left empty"
        )
        inputs.bool("undo", label="Undo the last apply instead", default=False)

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Add the new decisions, or undo the last addition."""
        from rsam_app.review.decisions.apply import apply_to, undo_last

        work = undo_last if ctx.params.get("undo") else apply_to
        report = work(run_folder_of(ctx), review_set.name, key_of(ctx), ctx.params.get("who") or None)
        ctx.ops.reload_samples()
        return {"message": report.text(), **report.as_dict()}

    def resolve_output(self, ctx: Any) -> Any:
        """Show the report."""
        return types.Property(result_view(ctx.results), view=types.View(label="RSAM: apply"))
