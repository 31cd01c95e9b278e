"""What every operator here shares: it works on RSAM's datasets alone, and what a person can mend it says in words."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from rsam_app.review.app.review_queue import run_of
from rsam_app.review.dataset.schema import MEMORY, memory, run_keys
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError

PLUGIN = "@rsam/review"


def is_ours(ctx: Any) -> bool:
    """Whether the App shows a dataset that `rsam review` wrote."""
    return ctx.dataset is not None and MEMORY in ctx.dataset.info


def review_set_of(ctx: Any) -> Any:
    """The dataset on which an operator was called. Raises `UserError` where `rsam review` did not write it."""
    if ctx.dataset is None:
        raise UserError("RSAM review: open a dataset first.")
    if not is_ours(ctx):
        raise UserError(
            f"RSAM review does not apply to the dataset {ctx.dataset.name!r}: `rsam review RUN` did not write it."
        )
    if not run_keys(ctx.dataset):
        raise UserError(f"The dataset {ctx.dataset.name!r} has no run yet. Write one with `rsam review RUN`.")
    return ctx.dataset


def key_of(ctx: Any) -> str:
    """Key of the run an operator works on: the parameter `run`, else the one under review. Raises `UserError`."""
    review_set = review_set_of(ctx)
    key = str(ctx.params.get("run") or run_of(review_set, ctx.view))
    if key not in run_keys(review_set):
        raise UserError(f"run {key!r}: this dataset has {', '.join(run_keys(review_set))}.")
    return key


def run_folder_of(ctx: Any) -> RunFolder:
    """The folder of that run, as remembered when it was written. Raises `UserError` where it is gone."""
    review_set, key = review_set_of(ctx), key_of(ctx)
    path = Path(memory(review_set)["runs"][key]["path"])
    if not (path / "config.yaml").exists():
        raise UserError(f"The folder of run {key!r} is gone: {path}. Bring it back, or run `rsam review` on a copy.")
    return RunFolder(path)


def choose_run(inputs: Any, review_set: Any, default: str, label: str = "Run", name: str = "run") -> None:
    """A choice among the dataset's runs in a form."""
    choices = types.Dropdown()
    for key in run_keys(review_set):
        choices.add_choice(key, label=key)
    inputs.enum(name, choices.values(), label=label, default=default, view=choices)


def described(name: str, label: str, **more: Any) -> Any:
    """How FiftyOne lists an operator. Its answers are checked by us, whose messages say what to do about them."""
    return foo.OperatorConfig(name=name, label=label, disable_schema_validation=True, **more)


def button_above_grid(ctx: Any, label: str, icon: str) -> Any:
    """Where FiftyOne puts an operator that has a form: a button above the grid, on datasets of ours."""
    if not is_ours(ctx):
        return None
    button = types.Button(label=label, icon=icon, prompt=True)
    return types.Placement(types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, button)


class ReviewOperator(foo.Operator):
    """An operator with a form, whose answer is a notice in the App's corner, or `{"error": …}` where it cannot be
    done."""

    def resolve_input(self, ctx: Any) -> Any:
        """The form; where the operator does not apply, the reason instead."""
        inputs = types.Object()
        try:
            self.form(ctx, inputs, review_set_of(ctx))
        except UserError as error:
            inputs.view("problem", types.Warning(label="Not now", description=str(error)))
        return types.Property(inputs, view=types.View(label=self.config.label))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Do it; what a person can mend comes back as `{"error": …}` and is shown."""
        try:
            return self.act(ctx, review_set_of(ctx))
        except UserError as error:
            ctx.ops.notify(str(error), variant="error")
            return {"error": str(error)}

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Add the form's fields to `inputs`; none where there is nothing to ask."""

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Do it; returns the result for a caller. Raises `UserError`."""
        raise NotImplementedError


class OneClickOperator(ReviewOperator):
    """An operator that asks nothing."""

    def resolve_input(self, ctx: Any) -> Any:
        """No form."""
        return None


class ReportingOperator(ReviewOperator):
    """An operator that takes a moment, shows how far it is, and ends with a message; `steps` does the work."""

    def execute(self, ctx: Any) -> Iterator[Any]:  # type: ignore[override]  # FiftyOne's two kinds of operator
        """Do it, telling how far it is; what a person can mend ends it as a message, a delegated run as failed."""
        try:
            message = yield from self.steps(ctx, review_set_of(ctx))
        except UserError as error:
            if ctx.delegated:
                raise
            yield show(ctx, {"error": str(error)})
            return
        if ctx.delegated:
            ctx.set_progress(progress=1.0, label=message)  # `run_scheduled` passes it on
            return
        yield ctx.ops.reload_dataset()
        yield show(ctx, {"message": message})

    def steps(self, ctx: Any, review_set: Any) -> Generator[Any, None, str]:
        """Yield `progress` as it goes on; returns what to tell at the end. Raises `UserError`."""
        raise NotImplementedError


def progress(ctx: Any, done: int, total: int, label: str) -> Any:
    """How far it is, for the App's prompt, or for the list of runs where it is delegated; `total` 0: not known yet."""
    share, text = done / max(total, 1), f"{label}: {done:,} of {total:,}" if total else f"{label} …"
    if ctx.delegated:
        ctx.set_progress(progress=share, label=text)
        return None
    return ctx.ops.set_progress(progress=share, label=text)


def show(ctx: Any, result: dict[str, str]) -> Any:
    """The end of a reporting operator in the App's prompt: its `message`, or its `error`."""
    outputs = types.Object()
    if "error" in result:
        outputs.view("error", types.Error(label="It could not be done", description=result["error"]))
    else:
        outputs.md(result["message"], name="message")
    return ctx.ops.show_output(types.Property(outputs).to_json(), result)


def count_images(number: int) -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} image{'' if number == 1 else 's'}"
