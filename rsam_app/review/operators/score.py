"""Score: write a run's predictions and scores again, as its files have them now."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from rsam_app.review.operators.base import ReportingOperator, choose_run, described, key_of, progress, run_folder_of
from rsam_app.review.operators.working import steps_of


class Score(ReportingOperator):
    """What `rsam review RUN --no-app` does, from the App."""

    @property
    def config(self) -> Any:
        """How FiftyOne lists it."""
        return described(
            name="score",
            label="RSAM: write a run's scores again …",
            icon="refresh",
            description="Bring predictions, rectangles and scores up to date with the run's files; your work stays",
            execute_as_generator=True,
            allow_delegated_execution=True,
        )

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Which run."""
        choose_run(inputs, review_set, key_of(ctx))
        inputs.md("Its scores come from `rsam predict RUN`; what did not change is not written again.", name="about")

    def steps(self, ctx: Any, review_set: Any) -> Generator[Any, None, str]:
        """Write the run."""
        from rsam_app.job import Job
        from rsam_app.progress import Reporter
        from rsam_app.review.write import write_run

        run, key = run_folder_of(ctx), key_of(ctx)
        job = Job.of_run(run.path, [], Reporter())
        with run.writing():
            report = yield from _shown(ctx, steps_of(lambda advance: write_run(run, job.original, key, advance)))
        return (
            f"Run **{key}**: {report.added:,} images added, {report.updated:,} updated, {report.unchanged:,} unchanged,"
            f" {report.kept:,} kept as you moved them."
        )


def _shown(ctx: Any, steps: Any) -> Any:
    while True:
        try:
            done, total = next(steps)
        except StopIteration as end:
            return end.value
        yield progress(ctx, done, total, "images written")
