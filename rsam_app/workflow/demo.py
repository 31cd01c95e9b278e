"""`rsam demo`: run the whole loop on a generated dataset, and report which planted problems it found."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import yaml

from rsam_app.data.synthetic.generate import generate
from rsam_app.data.synthetic.planting import read_planted
from rsam_app.run.job import Job
from rsam_app.run.predictions import read_predictions
from rsam_app.system.files import sha256_of
from rsam_app.system.progress import Reporter
from rsam_app.workflow import stages
from rsam_app.workflow.demo_report import report_planted

PIPELINE = Path(__file__).with_name("demo_pipeline.yaml")


def run_demo(run: Path, reporter: Reporter, echo: Callable[[str], None]) -> str:
    """Run the loop in `run`, with the dataset beside it, skipping stages that are up to date.

    Returns the name of the FiftyOne dataset. Raises `UserError`.
    """
    card = make_dataset(run.with_name(f"{run.name}-data"), reporter)
    job = Job.of_pipeline(str(PIPELINE), ["name=demo", f"dataset={card}"], run, reporter)
    begun = time.perf_counter()
    with job.run.writing():
        stages.run_all(job)
    echo(f"\nThe loop took {(time.perf_counter() - begun) / 60:.1f} minutes. Of the planted problems it found:")
    for sentence in report_planted(read_planted(card.parent / "planted.json"), read_predictions(job.run.predictions)):
        echo(f"  {sentence}")
    echo(
        f"\nNow correct it: in the App, relabel the images with the tag `relabel`, then run\n"
        f"  rsam apply {run}    and    rsam demo    to learn from your corrections."
    )
    return job.card.name


def make_dataset(folder: Path, reporter: Reporter) -> Path:
    """Generate the dataset in `folder` if it is not there yet; returns its card."""
    card = folder / "rsam_demo.yaml"
    if not (folder / "manifest.csv").exists():
        with reporter.bar("drawing beetles") as advance:
            generate(folder, on_image=advance)
    suffix = sha256_of(str(folder.resolve()))[:6]  # two demos, two FiftyOne datasets
    content = {
        "name": f"rsam_demo_{suffix}",
        "layout": "manifest",
        "root": str((folder / "manifest.csv").resolve()),
        "licence": "CC0: drawn by rsam demo",
    }
    card.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return card
