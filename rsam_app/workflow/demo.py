"""`rsam demo`: generate, train, evaluate, review, select, and say what was found of what was planted."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from rsam_app.data.synthetic.generate import generate
from rsam_app.data.synthetic.planting import read_planted
from rsam_app.run.job import Job
from rsam_app.run.predictions import read_predictions
from rsam_app.system.progress import Reporter
from rsam_app.workflow import stages
from rsam_app.workflow.demo_report import report_planted

PIPELINE = Path(__file__).with_name("demo_pipeline.yaml")


def run_demo(run: Path, reporter: Reporter, tell: Callable[[str], None]) -> str:
    """Do the whole loop in `run`, the dataset beside it; what is done already is not done again.

    Returns the name of the FiftyOne dataset. Raises `UserError`.
    """
    card = make_data(run.with_name(f"{run.name}-data"), reporter)
    job = Job.of_pipeline(str(PIPELINE), ["name=demo", f"dataset={card}"], run, reporter)
    begun = time.perf_counter()
    with job.run.writing():
        stages.run_all(job)
    tell(f"\nThe loop took {(time.perf_counter() - begun) / 60:.1f} minutes. What it found of what was planted:")
    for sentence in report_planted(read_planted(card.parent / "planted.json"), read_predictions(job.run.predictions)):
        tell(f"  {sentence}")
    tell(
        f"\nNow correct it: in the App, relabel what carries the tag `relabel`, then\n"
        f"  rsam apply {run}    and    rsam demo    learns from what you did."
    )
    return job.card.name


def make_data(folder: Path, reporter: Reporter) -> Path:
    """The generated dataset's card in `folder`, drawn where it is not there yet."""
    card = folder / "rsam_demo.yaml"
    if not (folder / "manifest.csv").exists():
        with reporter.bar("drawing beetles") as advance:
            generate(folder, on_image=advance)
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]  # two demos, two FiftyOne datasets
    content = {
        "name": f"rsam_demo_{place}",
        "layout": "manifest",
        "root": str((folder / "manifest.csv").resolve()),
        "licence": "CC0: drawn by rsam demo",
    }
    card.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return card
