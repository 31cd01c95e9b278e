"""Select for relabeling: a strategy's best images get a tag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone.operators.types as types

from rsam_app.config import SelectConfig
from rsam_app.config.validation import validate
from rsam_app.review.plugin.base import (
    ReviewOperator,
    button_above_grid,
    choose_run,
    count_images,
    described,
    key_of,
    run_folder_of,
)

ORDER = ("strategy", "budget", "split", "tag")


class SelectForRelabeling(ReviewOperator):
    """What `rsam select` does, from the App."""

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        about = "Tag the images that are worth your time, by a strategy"
        return described(
            name="select_for_relabeling", label="RSAM: select for relabeling …", icon="playlist_add", description=about
        )

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return button_above_grid(ctx, "RSAM: select for relabeling", "playlist_add")

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Which run, strategy, how many, from which split, and the tag."""
        from rsam_app.selection import STRATEGIES

        settings = run_folder_of(ctx).load_pipeline().select
        choose_run(inputs, review_set, key_of(ctx))
        strategies = types.AutocompleteView()
        for name in sorted(STRATEGIES, key=lambda n: (n != settings.strategy, n)):
            strategies.add_choice(name, label=name, description=STRATEGIES[name].summary)
        inputs.enum(
            "strategy", strategies.values(), label="Strategy", default=settings.strategy, required=True, view=strategies
        )
        inputs.int("budget", label="How many images", default=settings.budget, min=1, required=True)
        splits = types.Dropdown()
        for split in [*sorted(s for s in review_set.distinct("split") if s), "all"]:
            splits.add_choice(split, label=split)
        inputs.enum("split", splits.values(), label="Split", default=settings.split, required=True, view=splits)
        inputs.str("tag", label="Tag", default=settings.tag, required=True)

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Choose and tag, then show what was chosen, best first."""
        from rsam_app.review.tagging import choose

        run = run_folder_of(ctx)
        pipeline = run.load_pipeline()
        given = {name: ctx.params[name] for name in ORDER if ctx.params.get(name) is not None}
        settings = validate(SelectConfig, pipeline.select.model_dump() | given, Path("select for relabeling"))
        chosen, new = choose(run, review_set.name, settings, pipeline.seed)
        said = f"{count_images(len(chosen.ids))} by {chosen.strategy}, {new:,} newly tagged '{settings.tag}'"
        ctx.ops.notify(". ".join([said, *chosen.notes]), variant="success")
        view = review_set.select_by("record_id", list(chosen.ids), ordered=True)
        ctx.ops.set_view(view=view)
        return {"ids": list(chosen.ids), "tagged": new, "csv": str(chosen.csv)}
