"""Operator `score`: bring a run's predictions and scores up to date, and write them into FiftyOne."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, TypeVar, cast

import fiftyone.operators.types as types

from rsam_app.data.records import SPLITS, UNLABELLED
from rsam_app.review.dataset.guest import field_of, is_guest
from rsam_app.review.plugin.base import (
    ReportingOperator,
    add_choice,
    choose_run,
    count_images,
    key_of,
    listed,
    progress,
    run_folder_of,
)
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Progress

T = TypeVar("T")
CHANGED, VIEW, ALL, WRITTEN = "changed", "view", "all", "written"
CHOICES = {
    CHANGED: "What changed",
    VIEW: "The splits of this view",
    ALL: "Every split",
    WRITTEN: "Nothing",
}
DESCRIPTIONS = {
    CHANGED: "splits with corrected labels, new images, or scores of another model",
    VIEW: "all images of every split that appears in the view",
    ALL: "all images of the dataset",
    WRITTEN: "only show what `rsam predict` wrote",
}


class Score(ReportingOperator):
    """Run `rsam apply`, `rsam predict` and `rsam review --no-app` one after the other."""

    config = listed(
        "score",
        "RSAM: score images again …",
        "refresh",
        "Recompute predictions, rectangles and scores after you corrected labels or added images",
        execute_as_generator=True,
        allow_delegated_execution=True,
    )
    above_grid = True

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Ask for the run, the images, and whether to apply decisions first."""
        choose_run(inputs, review_set, key_of(ctx))
        view = types.RadioGroup(orientation="vertical")
        add_choice(
            inputs, "images", "Images to score", CHOICES, DESCRIPTIONS, view=view, default=CHANGED, required=True
        )
        about = "Your corrected labels count, as after `rsam apply`; labels of test images are never corrected"
        inputs.bool("apply", label="Apply my decisions first", description=about, default=True)
        inputs.md(
            "Without a GPU, the run's model takes seconds to minutes for a thousand images. *Schedule* does the work in"
            " the terminal of `rsam review` while you continue reviewing.",
            name="about",
        )

    def steps(self, ctx: Any, review_set: Any) -> Generator[Any, None, str]:
        """Apply, predict, write."""
        from rsam_app.review.decisions.apply import apply_to
        from rsam_app.review.plugin.predict_process import locate_in_child

        run, key = run_folder_of(ctx), key_of(ctx)
        images = str(ctx.params.get("images") or CHANGED)
        if images not in CHOICES:
            raise UserError(f"score: {images!r} is not a choice of images (has: {', '.join(CHOICES)}).")
        lines = []
        if images != WRITTEN:
            if ctx.params.get("apply", True):
                applied = apply_to(run, review_set.name, key, None)
                lines += applied.text().splitlines()[:1]
                answered = {"rectangle", "place"} & {correction.kind for correction in applied.added}
                if answered and (run.path / "discovered.json").exists():
                    yield progress(ctx, 0, 0, "locating objects")
                    lines.append(locate_in_child(run.path))
            predicted = yield from self._predict(ctx, run, self._splits(ctx, review_set, images))
            lines.append(f"New predictions: {', '.join(predicted)}." if predicted else "Nothing had changed.")
        report = yield from self._write(ctx, run, key, review_set)
        lines.append(
            f"Run **{key}**: {report.added:,} images added, {report.updated:,} updated, {report.unchanged:,} unchanged,"
            f" {report.kept:,} rectangles kept where you moved them."
        )
        if added := review_set.match({"record_id": None}).count():
            where = "that are not in the run's card" if is_guest(review_set) else "you added outside the dataset"
            remedy = "" if is_guest(review_set) else " Add them to its folder."
            lines.append(f"Not scored: {count_images(added)} {where}.{remedy}")
        return "\n\n".join(lines)

    def _splits(self, ctx: Any, review_set: Any, images: str) -> list[str] | None:
        """The splits to predict; None for those that are out of date."""
        if images == CHANGED:
            return None
        shown = ctx.view if images == VIEW and ctx.view is not None else review_set
        splits = [
            split for split in (*SPLITS, UNLABELLED) if split in set(shown.distinct(field_of(review_set, "split")))
        ]
        if not splits:
            raise UserError("The view shows none of the dataset's own images. Open another one.")
        return splits

    def _predict(self, ctx: Any, run: Any, splits: list[str] | None) -> Generator[Any, None, list[str]]:
        from rsam_app.review.plugin.predict_process import predict_in_child

        yield progress(ctx, 0, 0, "loading the model")
        steps = predict_in_child(run.path, splits)
        return (yield from _shown(steps, lambda step: progress(ctx, step.done, step.total, step.title)))

    def _write(self, ctx: Any, run: Any, key: str, review_set: Any) -> Generator[Any, None, Any]:
        from rsam_app.review.writing.write_run import write_run
        from rsam_app.run.job import Job
        from rsam_app.system.progress import Reporter

        job = Job.of_run(run.path, [], Reporter())
        with run.writing():
            panels, text_model = job.pipeline.review.all_panels, job.pipeline.review.text_model
            into = review_set.name if is_guest(review_set) else None
            write = partial(write_run, run, job.original, key, all_panels=panels, into=into, text_model=text_model)
            steps = _steps_of(write)
            return (yield from _shown(steps, lambda step: progress(ctx, step[0], step[1], "images written")))


def _shown(steps: Generator[Any, None, T], show: Callable[[Any], Any]) -> Generator[Any, None, T]:
    """Yield `show(step)` for each step, and return what the steps return."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return cast(T, end.value)
        yield show(step)


def _steps_of(work: Callable[[Progress], T]) -> Generator[tuple[int, int], None, T]:
    """Run `work` on a thread; yield each (done, total) that it reports, return its result or raise its error."""
    reports: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(lambda done, total: reports.put((done, total))))
        except BaseException as error:  # raised again on the waiting thread
            errors.append(error)
        finally:
            reports.put(None)

    thread = threading.Thread(target=run, name="rsam-operator", daemon=True)
    thread.start()
    while (report := reports.get()) is not None:
        yield report
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
