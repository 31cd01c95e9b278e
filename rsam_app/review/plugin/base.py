"""Base of the plugin's operators: they act on RSAM's datasets only and report every `UserError` in the App."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from rsam_app.review.app.review_queue import run_of
from rsam_app.review.dataset.fiftyone_internals import dataset_of
from rsam_app.review.dataset.guest import MEMORY
from rsam_app.review.dataset.schema import field_keys, memory, run_keys
from rsam_app.run.folder import LABELLING, RunFolder
from rsam_app.system.errors import UserError

PLUGIN = "@rsam/review"


def is_review_set(ctx: Any) -> bool:
    """Whether the App shows a dataset that `rsam review` wrote."""
    dataset = dataset_of(ctx)
    return dataset is not None and MEMORY in dataset.info


def review_set_of(ctx: Any) -> Any:
    """Return the dataset shown in the App. Raises `UserError` unless `rsam review` wrote it with at least one run, or
    `rsam label`."""
    dataset = dataset_of(ctx)
    if dataset is None:
        raise UserError("RSAM review: open a dataset first.")
    if MEMORY not in dataset.info:
        raise UserError(
            f"RSAM review does not apply to the dataset {dataset.name!r}: `rsam review RUN` did not write it."
        )
    if not field_keys(dataset):
        raise UserError(f"The dataset {dataset.name!r} has no run yet. Write one with `rsam review RUN`.")
    return dataset


def key_of(ctx: Any) -> str:
    """Key of the run: the parameter `run`, else the run under review, or `LABELLING`. Raises `UserError` if there is no
    such run."""
    review_set = review_set_of(ctx)
    key = str(ctx.params.get("run") or run_of(review_set, ctx.view))
    if key not in field_keys(review_set):
        raise UserError(f"run {key!r}: this dataset has {', '.join(run_keys(review_set))}.")
    return key


def run_folder_of(ctx: Any) -> RunFolder:
    """Return the run's folder, as stored when the run was written. Raises `UserError` if it no longer exists."""
    review_set, key = review_set_of(ctx), key_of(ctx)
    _require_run(review_set, key)
    path = Path(memory(review_set).runs[key].path)
    if not (path / "config.yaml").exists():
        raise UserError(f"The folder of run {key!r} is gone: {path}. Restore it, or run `rsam review` on a copy.")
    return RunFolder(path)


def _require_run(review_set: Any, key: str) -> None:
    if key == LABELLING:
        labelling = memory(review_set).labelling
        train = f"`rsam run {labelling.pipeline if labelling else 'PIPELINE'}` trains one with your labels."
        remedy = "Open a view of a run." if run_keys(review_set) else train
        raise UserError(f"This needs a run, and these images are only being labelled. {remedy}")


def add_choice(
    inputs: Any,
    name: str,
    label: str,
    choices: Mapping[str, str],
    descriptions: Mapping[str, str] | None = None,
    view: Any = None,
    **options: Any,
) -> None:
    """Add the field `name` to a form; `choices` maps each value to its text. `view` is a dropdown unless given."""
    view = view or types.Dropdown()
    for value, text in choices.items():
        view.add_choice(value, label=text, description=(descriptions or {}).get(value))
    inputs.enum(name, view.values(), label=label, view=view, **options)


def choose_run(inputs: Any, review_set: Any, default: str, label: str = "Run", name: str = "run") -> None:
    """Add a choice of the dataset's runs to a form. Raises `UserError` if the default is none."""
    _require_run(review_set, default)
    add_choice(inputs, name, label, {key: key for key in run_keys(review_set)}, default=default)


def listed(name: str, label: str, icon: str | None = None, description: str | None = None, **options: Any) -> Any:
    """Return an operator's entry in the App's list; operators check their parameters themselves."""
    return foo.OperatorConfig(
        name=name, label=label, icon=icon, description=description, disable_schema_validation=True, **options
    )


class ReviewOperator(foo.Operator):
    """An operator with a form. It reports in the App's corner and returns `{"error": …}` if it fails."""

    config: Any = None
    """The entry in the App's list, from `listed`."""
    above_grid = False
    """Whether the operator has a button above the grid."""

    def resolve_placement(self, ctx: Any) -> Any:
        """Return the button above the grid, if there is one and the dataset is RSAM's."""
        if not self.above_grid or not is_review_set(ctx):
            return None
        button = types.Button(label=self.config.label.removesuffix(" …"), icon=self.config.icon, prompt=True)
        return types.Placement(types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, button)

    def resolve_input(self, ctx: Any) -> Any:
        """Return the form, or the reason why the operator does not apply."""
        inputs = types.Object()
        try:
            self.form(ctx, inputs, self.dataset_of(ctx))
        except UserError as error:
            inputs.view("problem", types.Warning(label="Not available", description=str(error)))
        return types.Property(inputs, view=types.View(label=self.config.label))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Act, and show a `UserError` as a notice."""
        try:
            return self.act(ctx, self.dataset_of(ctx))
        except UserError as error:
            ctx.ops.notify(str(error), variant="error")
            return {"error": str(error)}

    def dataset_of(self, ctx: Any) -> Any:
        """Return the dataset to act on. Raises `UserError` if the operator does not apply to it."""
        return review_set_of(ctx)

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Add the form's fields to `inputs`. Raises `UserError`."""

    def act(self, ctx: Any, review_set: Any) -> dict[str, Any]:
        """Do the work and return a result for a caller. Raises `UserError`."""
        raise NotImplementedError


class OneClickOperator(ReviewOperator):
    """An operator without a form."""

    def resolve_input(self, ctx: Any) -> Any:
        """Return no form."""
        return None


class ReportingOperator(ReviewOperator):
    """A longer operator that shows its progress and ends with a message; `steps` does the work."""

    def execute(self, ctx: Any) -> Iterator[Any]:  # type: ignore[override]  # FiftyOne's two kinds of operator
        """Run the steps. A `UserError` ends them with a message, or makes a delegated operation fail."""
        try:
            message = yield from self.steps(ctx, self.dataset_of(ctx))
        except UserError as error:
            if ctx.delegated:
                raise
            yield _show(ctx, {"error": str(error)})
            return
        if ctx.delegated:
            ctx.set_progress(progress=1.0, label=message)  # `run_scheduled` reports it
            return
        yield ctx.ops.reload_dataset()
        yield _show(ctx, {"message": message})

    def steps(self, ctx: Any, review_set: Any) -> Generator[Any, None, str]:
        """Yield `progress` while working and return the final message. Raises `UserError`."""
        raise NotImplementedError


def progress(ctx: Any, done: int, total: int, label: str) -> Any:
    """Show progress in the App, or in its list of runs if delegated; `total` is 0 while unknown."""
    share, text = done / max(total, 1), f"{label}: {done:,} of {total:,}" if total else f"{label} …"
    if ctx.delegated:
        ctx.set_progress(progress=share, label=text)
        return None
    return ctx.ops.set_progress(progress=share, label=text)


def result_view(result: Mapping[str, Any]) -> Any:
    """Return a result's `message` or `error` as something the App can show."""
    outputs = types.Object()
    if "error" in result:
        outputs.view("error", types.Error(label="Failed", description=result["error"]))
    else:
        for number, line in enumerate(filter(None, str(result.get("message", "")).splitlines())):
            outputs.md(line, name=f"line_{number}")
    return outputs


def _show(ctx: Any, result: dict[str, str]) -> Any:
    return ctx.ops.show_output(types.Property(result_view(result)).to_json(), result)


def count_images(number: int) -> str:
    """Return `1 image`, `2 images` …"""
    return f"{number:,} image{'' if number == 1 else 's'}"
