"""Train, evaluate, review and select from Python, as the commands of the same names do."""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from rsam_app.config import Card, SelectConfig, load_card
from rsam_app.config.load import validated_pipeline
from rsam_app.config.validation import validate
from rsam_app.evaluation.inference.trained_model import TrainedModel, load
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.selection import Selection
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically
from rsam_app.system.progress import LogReporter

RunPath = str | os.PathLike[str]


def fit(
    data: str | os.PathLike[str],
    run: RunPath | None = None,
    *,
    name: str | None = None,
    seed: int = 0,
    **settings: Mapping[str, Any],
) -> TrainedModel:
    """Train a model, predict and evaluate, and return the model; what is up to date is not done again.

    `data` is a folder of class folders, a manifest (`.csv`), or a card's name or file. `run` defaults to `runs/NAME`,
    `name` to that of the data. `settings` are the sections of a pipeline, e.g. `train={"epochs": 3}` or
    `model={"backbone": "resnet18"}`. Nothing is written into FiftyOne: see `open_review`. Raises `UserError` as
    `rsam run` does.
    """
    from rsam_app.workflow import stages
    from rsam_app.workflow.preflight import pass_preflight

    for section, values in settings.items():
        if not isinstance(values, Mapping):
            raise UserError(f"fit: {section} is not a section of a pipeline. Write e.g. train={{'epochs': 3}}.")
    path = Path(data).expanduser()
    known = not path.is_dir() and path.suffix.lower() != ".csv"
    name = name or (load_card(str(data)).name if known else _plain_name(path))
    folder = RunFolder(Path(run) if run else Path("runs") / name)
    card = str(data) if known else str(_write_card(path, name, folder))
    content = {"name": folder.path.name, "dataset": card, "seed": seed, **{k: dict(v) for k, v in settings.items()}}
    job = Job(validated_pipeline(content, "fit"), folder, LogReporter())
    pass_preflight(job)
    with job.run.writing_on_main():
        stages.train_and_evaluate(job)
    return load(folder.path)


def evaluate(run: RunPath, split: str | None = None, *, robustness: bool = False) -> dict[str, Any]:
    """The metrics of a run on a split, as `evaluation/metrics.json` has them; the report is written beside it.

    `split` defaults to the pipeline's. Raises `UserError` as `rsam evaluate` does.
    """
    from rsam_app.workflow import stages

    job = _job(run)
    with job.run.writing_on_main():
        return stages.evaluate(job, split or job.evaluated_split, robustness)


def select(
    run: RunPath,
    strategy: str | None = None,
    budget: int | None = None,
    split: str | None = None,
    *,
    per_class: int | None = None,
    near_duplicates: float | None = None,
) -> Selection:
    """Choose the images to label or relabel next, without FiftyOne: its `ids` are best first, `csv` is the list.

    What is not given is the pipeline's. Images with a decision are left out. Raises `UserError` as `rsam select` does.
    """
    from rsam_app.review.tagging import select_and_tag

    job = _job(run)
    given: dict[str, Any] = {"strategy": strategy, "budget": budget, "split": split}
    given |= {"per_class": per_class, "near_duplicates": near_duplicates}
    changed = {key: value for key, value in given.items() if value is not None}
    settings = validate(SelectConfig, job.pipeline.select.model_dump() | changed, Path("rsam.select"))
    with job.run.writing():
        return select_and_tag(job.run, job.card.name, settings, job.pipeline.seed, tag=False)[0]


def open_review(run: RunPath, port: int | None = None, *, address: str = "127.0.0.1") -> Any:
    """Write the run into FiftyOne and open the App on it; returns FiftyOne's session.

    The App closes with `session.close()`, or when Python ends. `rsam apply RUN` takes the decisions over.
    Raises `UserError` as `rsam review` does.
    """
    from rsam_app.review.app.session import app_session
    from rsam_app.workflow import stages

    job = _job(run)
    with job.run.writing():
        dataset = stages.review(job)
        job.run.save_pipeline(job.pipeline)
    opened = ExitStack()
    session, url = opened.enter_context(app_session(dataset, port, address=address))
    atexit.register(opened.close)
    job.reporter.say(f"FiftyOne App: {url}")
    return session


def _job(run: RunPath) -> Job:
    return Job.of_run(Path(run), [], LogReporter())


def _plain_name(path: Path) -> str:
    """A card's name from that of a folder or file."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.resolve().stem if path.is_file() else path.resolve().name).strip("-._")
    if not name:
        raise UserError(f"{path}: gives no name. Give one with `name`.")
    return name


def _write_card(data: Path, name: str, run: RunFolder) -> Path:
    """The card of a folder or manifest, in `cards/` beside the run."""
    layout = "folder" if data.is_dir() else "manifest"
    if layout == "manifest" and not data.is_file():
        raise UserError(f"{data}: no such file. Give a folder of class folders, a manifest or a card.")
    content = {"name": name, "layout": layout, "root": str(data.resolve())}
    path = run.path.parent / "cards" / f"{name}.yaml"
    validate(Card, content, path)
    dumped = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    if path.is_file() and path.read_text(encoding="utf-8") != dumped:
        raise UserError(f"{path}: is the card of other data. Give another name with `name`.")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, dumped)
    return path.resolve()


__all__ = ["evaluate", "fit", "open_review", "select"]
