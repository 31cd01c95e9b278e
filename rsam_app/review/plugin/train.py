"""Operator `train_on_view`: a run on the images of the open view, of any dataset of images."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import yaml

from rsam_app.config import ModelConfig, TrainConfig
from rsam_app.review.app.allowed_writes import check_allowed
from rsam_app.review.dataset.guest import MEMORY, field_of, is_guest
from rsam_app.review.dataset.schema import run_keys
from rsam_app.review.import_dataset import import_dataset, label_fields
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
from rsam_app.review.plugin.child_process import REASON_LINES, python_child, reason_of_failure
from rsam_app.system.errors import UserError


class TrainOnView(ReportingOperator):
    """Write a card of the view beside the runs, and run `rsam run` on it."""

    config = listed(
        "train_on_view",
        "RSAM: train on this view …",
        "model_training",
        "Train a model on the images of the view, and show where it looks",
        execute_as_generator=True,
        allow_delegated_execution=True,
    )

    def dataset_of(self, ctx: Any) -> Any:
        """Return the dataset in the App, whoever made it."""
        if ctx.dataset is None:
            raise UserError("RSAM: open a dataset first.")
        return ctx.dataset

    def form(self, ctx: Any, inputs: Any, review_set: Any) -> None:
        """Ask for the settings, the labels, and the name of the run."""
        if run_keys(review_set):
            choose_run(inputs, review_set, key_of(ctx), "Settings of the run")
        else:
            fields = label_fields(review_set)
            default = "ground_truth" if "ground_truth" in fields else next(iter(fields), None)
            add_choice(inputs, "label", "Labels", {f: f for f in fields}, default=default, required=True)
            inputs.str("backbone", label="timm backbone", default=ModelConfig().backbone, required=True)
        inputs.int("epochs", label="Epochs", default=TrainConfig().epochs, min=1, required=True)
        about = f"Folder below {_runs(ctx)} on the machine that runs `rsam review`"
        inputs.str("name", label="Name of the run", description=about, required=True)
        schedule = "*Schedule* trains in the terminal of `rsam review` while you continue."
        inputs.md(f"For {count_images(len(ctx.view))}. {schedule}", name="about")

    def steps(self, ctx: Any, review_set: Any) -> Generator[Any, None, str]:
        """Read the view, then run."""
        name = str(ctx.params.get("name") or "")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
            raise UserError(f"train: {name!r} is not a name of a run. Give a letter, then letters, digits, _ or -.")
        run = _runs(ctx) / name
        check_allowed(run)
        if run.exists():
            raise UserError(f"train: {run} exists. Give another name.")
        yield progress(ctx, 0, 0, "reading the view")
        pipeline, options = self._pipeline(ctx, review_set, run)
        yield from _run_in_child(ctx, [str(pipeline), "--run", str(run), *options])
        return f"Run **{name}** is trained on {count_images(len(ctx.view))} of this view: `rsam review {run}` shows it."

    def _pipeline(self, ctx: Any, dataset: Any, run: Path) -> tuple[Path, list[str]]:
        """Write the card, and a pipeline if no run has one; return it and the options of `rsam run`."""
        known, epochs = run_keys(dataset), int(ctx.params.get("epochs") or TrainConfig().epochs)
        ours = MEMORY in dataset.info
        label = field_of(dataset, "ground_truth") if ours else str(ctx.params.get("label") or "") or None
        split = field_of(dataset, "split") if ours else None
        folder = run.parent / "cards" / run.name
        folder.parent.mkdir(parents=True, exist_ok=True)
        card = Path(import_dataset(dataset.name, folder, label, split=split, view=ctx.view, again=True).card)
        if known:
            pipeline = run_folder_of(ctx).config_path
        else:
            backbone = str(ctx.params.get("backbone") or ModelConfig().backbone)
            pipeline = folder.with_name(f"{run.name}.yaml")
            content = {"name": run.name, "dataset": str(card), "model": {"backbone": backbone}}
            pipeline.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        into = dataset.name if is_guest(dataset) or not ours else None
        values = {"dataset": str(card), "train.epochs": epochs, "review.key": None, "review.into": into}
        return pipeline, [word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def _runs(ctx: Any) -> Path:
    """The folder of the runs: that of the run under review, or `runs` where the App was started."""
    return run_folder_of(ctx).path.parent if run_keys(ctx.dataset) else Path("runs").absolute()


def _run_in_child(ctx: Any, arguments: Sequence[str]) -> Generator[Any, None, None]:
    """Run `rsam run` in a child process; yield its last line as progress.

    It ends with the generator. Raises `UserError` with the last lines of its output if it fails.
    """
    output: list[str] = []
    with python_child(["rsam_app", "run", *arguments]) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output = [*output[1 - REASON_LINES :], line.rstrip()]
            yield progress(ctx, 0, 0, line.strip()[:120])
        process.wait()
    if process.returncode:
        raise UserError(reason_of_failure(process.returncode, output).rpartition("rsam: ")[2])
