"""Operator `compare_runs`: how much two runs' rectangles overlap, and the images in which they differ most."""

from __future__ import annotations

from typing import Any

from rsam_app.review.analysis.compare_runs import compare_runs
from rsam_app.review.dataset.fields import CHANGE
from rsam_app.review.dataset.guest import field_of
from rsam_app.review.dataset.schema import run_keys
from rsam_app.review.plugin.base import ReviewOperator, choose_run, count_images, listed
from rsam_app.system.errors import UserError


class CompareRuns(ReviewOperator):
    """Write the overlap as a field and show both rectangles, and what `rsam compare` said, smallest overlap first."""

    config = listed(
        "compare_runs",
        "RSAM: compare two runs' rectangles …",
        "compare",
        "Write the overlap of two runs' rectangles as a field, and show where they differ most",
    )

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Ask for the two runs."""
        keys = run_keys(review_set)
        if len(keys) < 2:
            raise UserError(f"Only the run {keys[0]!r} is written here. Add another one with `rsam review RUN`.")
        choose_run(inputs, review_set, keys[0], "Run", "first")
        choose_run(inputs, review_set, keys[1], "Compared with", "second")

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Write the field, open the view, and switch both rectangles on."""
        first, second = (str(ctx.params.get(name)) for name in ("first", "second"))
        name, number = compare_runs(review_set, first, second)
        ctx.ops.notify(f"{name} written on {count_images(number)}; smallest overlap first", "success")
        ctx.ops.reload_dataset()
        ctx.ops.set_view(view=review_set.exists(name).sort_by(name))
        shown = [f"{first}_rectangle", f"{second}_rectangle", field_of(review_set, "ground_truth"), name]
        changes = (f"{second}_{CHANGE}{first}", f"{first}_{CHANGE}{second}")
        ctx.ops.set_active_fields(shown + [field for field in changes if review_set.has_field(field)])
        return {"field": name, "images": number}
