"""Score: what a run says about images, computed anew where it is out of date, and written."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import fiftyone.operators.types as types

from rsam_app.data.records import SPLITS, UNLABELLED
from rsam_app.review.plugin.background import steps_of
from rsam_app.review.plugin.base import (
    ReportingOperator,
    button_above_grid,
    choose_run,
    count_images,
    described,
    key_of,
    progress,
    run_folder_of,
)
from rsam_app.system.errors import UserError

CHANGED, VIEW, ALL, NONE = "changed", "view", "all", "written"
CHOICES = {
    CHANGED: (
        "What changed",
        "splits with labels that were corrected, images that are new, or scores of another model",
    ),
    VIEW: ("The splits of this view", "all images of every split that the view shows images of"),
    ALL: ("Every split", "all images of the dataset"),
    NONE: ("Nothing", "only bring the App up to date with what `rsam predict` wrote"),
}


class Score(ReportingOperator):
    """What `rsam apply`, `rsam predict` and `rsam review --no-app` do one after the other, from the App."""

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        return described(
            name="score",
            label="RSAM: score images again …",
            icon="refresh",
            description="Predictions, rectangles and scores anew, after you corrected labels or added images",
            execute_as_generator=True,
            allow_delegated_execution=True,
        )

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        return button_above_grid(ctx, "RSAM: score images again", "refresh")

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Which run, which images, and whether what was decided counts."""
        choose_run(inputs, review_set, key_of(ctx))
        choices = types.RadioGroup(orientation="vertical")
        for value, (label, about) in CHOICES.items():
            choices.add_choice(value, label=label, description=about)
        inputs.enum("images", choices.values(), label="Images to score", default=CHANGED, required=True, view=choices)
        about = "Labels that you corrected count, as after `rsam apply`; those of test images never do"
        inputs.bool("apply", label="Apply my decisions first", description=about, default=True)
        inputs.md(
            "The run's model looks at the images again: seconds to minutes a thousand, without a GPU. *Schedule* does"
            " it in the terminal of `rsam review`, and you go on reviewing.",
            name="about",
        )

    def steps(self, ctx: Any, review_set: Any) -> Generator[Any, None, str]:
        """Apply, predict, write."""
        from rsam_app.review.decisions.apply import apply_to

        run, key = run_folder_of(ctx), key_of(ctx)
        wanted = str(ctx.params.get("images") or CHANGED)
        if wanted not in CHOICES:
            raise UserError(f"score: {wanted!r} is not a choice of images (has: {', '.join(CHOICES)}).")
        said = []
        if wanted != NONE:
            if ctx.params.get("apply", True):
                said += apply_to(run, review_set.name, key, None).text().splitlines()[:1]
            predicted = yield from self._predict(ctx, run, self._splits(ctx, review_set, wanted))
            said.append(f"Predicted anew: {', '.join(predicted)}." if predicted else "Nothing had changed.")
        report = yield from self._write(ctx, run, key)
        said.append(
            f"Run **{key}**: {report.added:,} images added, {report.updated:,} updated, {report.unchanged:,} unchanged,"
            f" {report.kept:,} kept as you moved them."
        )
        if without_record := review_set.match({"record_id": None}).count():
            said.append(f"{count_images(without_record)} of yours not scored: no files of the card. Add them there.")
        return "\n\n".join(said)

    def _splits(self, ctx: Any, review_set: Any, wanted: str) -> list[str] | None:
        """The splits to predict; None for those that are out of date."""
        if wanted == CHANGED:
            return None
        shown = ctx.view if wanted == VIEW and ctx.view is not None else review_set
        splits = [split for split in (*SPLITS, UNLABELLED) if split in set(shown.distinct("split"))]
        if not splits:
            raise UserError("The view shows no image of this dataset's files. Open another one.")
        return splits

    def _predict(self, ctx: Any, run: Any, splits: list[str] | None) -> Generator[Any, None, list[str]]:
        from rsam_app.review.plugin.predict_process import rescored

        yield progress(ctx, 0, 0, "loading the model")
        steps = rescored(run.path, splits)
        predicted: list[str] = yield from _shown(steps, lambda step: progress(ctx, step.done, step.total, step.title))
        return predicted

    def _write(self, ctx: Any, run: Any, key: str) -> Generator[Any, None, Any]:
        from rsam_app.review.writing.write_run import write_run
        from rsam_app.run.job import Job
        from rsam_app.system.progress import Reporter

        job = Job.of_run(run.path, [], Reporter())
        with run.writing():
            steps = steps_of(lambda advance: write_run(run, job.original, key, advance))
            return (yield from _shown(steps, lambda step: progress(ctx, step[0], step[1], "images written")))


def _shown(steps: Any, show: Callable[[Any], Any]) -> Any:
    """Yield what `show` makes of each step; returns what the steps return."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        yield show(step)
