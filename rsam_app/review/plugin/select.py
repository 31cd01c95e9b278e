"""Operator `select_for_relabeling`: `rsam select` from the App."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone.operators.types as types

from rsam_app.config import SelectConfig
from rsam_app.config.validation import validate
from rsam_app.review.dataset.guest import field_of
from rsam_app.review.dataset.schema import card_of
from rsam_app.review.plugin.base import (
    ReviewOperator,
    add_choice,
    choose_run,
    count_images,
    key_of,
    listed,
    run_folder_of,
)

SETTINGS = ("strategy", "budget", "split", "tag")


class SelectForRelabeling(ReviewOperator):
    """Tag the images that a strategy selects and show them, best first."""

    config = listed(
        "select_for_relabeling",
        "RSAM: select for relabeling …",
        "playlist_add",
        "Tag the images most worth reviewing, as ranked by a strategy",
    )
    above_grid = True

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Ask for the run, the strategy, the number of images, the split, and the tag."""
        from rsam_app.selection import STRATEGIES

        settings = run_folder_of(ctx).load_pipeline().select
        choose_run(inputs, review_set, key_of(ctx))
        names = sorted(STRATEGIES, key=lambda name: (name != settings.strategy, name))
        strategies, summaries = {name: name for name in names}, {name: STRATEGIES[name].summary for name in names}
        view, default = types.AutocompleteView(), settings.strategy
        add_choice(inputs, "strategy", "Strategy", strategies, summaries, view, default=default, required=True)
        inputs.int("budget", label="How many images", default=settings.budget, min=1, required=True)
        splits = {
            split: split
            for split in [*sorted(s for s in review_set.distinct(field_of(review_set, "split")) if s), "all"]
        }
        add_choice(inputs, "split", "Split", splits, default=settings.split, required=True)
        inputs.str("tag", label="Tag", default=settings.tag, required=True)

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Select and tag, then show the selection."""
        from rsam_app.review.tagging import select_and_tag

        run = run_folder_of(ctx)
        pipeline = run.load_pipeline()
        given = {name: ctx.params[name] for name in SETTINGS if ctx.params.get(name) is not None}
        settings = validate(SelectConfig, pipeline.select.model_dump() | given, Path("select for relabeling"))
        selection, tagged = select_and_tag(run, review_set.name, settings, pipeline.seed, card=card_of(review_set))
        ids = list(selection.ids)
        summary = f"{count_images(len(ids))} by {selection.strategy}, {tagged:,} newly tagged '{settings.tag}'"
        ctx.ops.notify(". ".join([summary, *selection.notes]), variant="success")
        ctx.ops.set_view(view=review_set.select_by("record_id", ids, ordered=True))
        return {"ids": ids, "tagged": tagged, "csv": str(selection.csv)}
