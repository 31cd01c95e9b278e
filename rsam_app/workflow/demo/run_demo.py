"""`rsam demo`: run the whole loop on a generated dataset, and report which planted problems it found.

After a reviewer's decisions the next call runs the loop again, as a round beside the first run, and reports what
changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from rsam_app.data.synthetic.generate import generate
from rsam_app.data.synthetic.planting import Planted, read_planted
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.run.predictions import read_predictions
from rsam_app.system.files import sha256_of
from rsam_app.system.progress import Reporter
from rsam_app.workflow import rounds, stages
from rsam_app.workflow.demo.change import change_sentences
from rsam_app.workflow.demo.report import report_planted

PIPELINE = Path(__file__).with_name("pipeline.yaml")

LATER_ROUND = (
    "model.predictor=peaks",
    "train.epochs=12",
    "train.learning_rate=1.0e-3",
    "train.head_learning_rate=null",
    "train.warmup_epochs=1",
    "train.head_epochs=1",
)
"""Settings of a round that starts from the weights of the one before: a short training suffices."""

Echo = Callable[[str], None]


@dataclass(frozen=True)
class Demo:
    """A finished demo: the `job` that ran last, what it found of the planted problems, and what changed since the round
    before; empty in the first one."""

    job: Job
    found: list[str]
    changed: list[str]


def run_demo(run: Path, reporter: Reporter, echo: Echo, simulate_reviewer: bool = False) -> Demo:
    """Run the loop in `run`, or, after new corrections, in a round beside it, with the dataset beside both; stages that
    are up to date are skipped. With `simulate_reviewer`, a simulated one decides about the first run's queue.

    Raises `UserError`.
    """
    run, _ = rounds.round_of(run)
    card = make_dataset(run.with_name(f"{run.name}-data"), reporter)
    planted = read_planted(card.parent / "planted.json")
    job = due_job(card, run, reporter)
    if simulate_reviewer and _is_later(job):
        echo("The simulated reviewer has nothing to do: the first run's queue is already reviewed.")
    found = _run_loop(job, planted, echo)
    if simulate_reviewer and not _is_later(job):
        echo(simulate_review(job, planted))
        job = due_job(card, run, reporter)
        found = _run_loop(job, planted, echo)
    changed = _change(job, planted, echo) if _is_later(job) else []
    echo(
        f"\nNow correct it: in the App, which `rsam review {job.run.path}` opens, relabel the images with the tag"
        f" `relabel`, then run\n"
        f"  rsam apply {job.run.path}    and    rsam demo    to learn from your corrections."
    )
    return Demo(job, found, changed)


def due_job(card: Path, run: Path, reporter: Reporter) -> Job:
    """The job of the round to run now: the last one, or, if it is finished and there are new corrections, the next."""
    number = rounds.last_round(run)
    last = job_of_round(card, run, number, reporter)
    if not rounds.is_finished(last.run):
        return last
    following = job_of_round(card, run, number + 1, reporter)
    return following if rounds.has_new_corrections(following, last.run) else last


def job_of_round(card: Path, run: Path, number: int, reporter: Reporter) -> Job:
    """The job of a round. A later one starts from the weights of the one before, which stays as it is, so that two
    trainings from different noise are not compared."""
    settings = ["name=demo", f"dataset={card}"]
    if number > 1:
        weights = rounds.round_folder(run, number - 1).model / "model.safetensors"
        settings += [f"model.weights={weights.resolve()}", *LATER_ROUND]
    return Job.of_pipeline(str(PIPELINE), settings, rounds.round_folder(run, number).path, reporter)


def simulate_review(job: Job, planted: Planted) -> str:
    """Let the simulated reviewer decide about the undecided images of the run's queue, and apply the decisions as `rsam
    apply` does; decisions that you had made are applied first, in your name. Returns a report."""
    from rsam_app.review.dataset.schema import open_review
    from rsam_app.review.decisions import simulated
    from rsam_app.review.decisions.apply import apply_decisions
    from rsam_app.review.tagging import tagged_ids
    from rsam_app.run.corrections import corrections_path, read_corrections

    apply_decisions(job, None)
    decided = {c.id for c in read_corrections(corrections_path(job.run.path, job.card.name))}
    queue = [i for i in tagged_ids(job.card.name, job.pipeline.select.tag) if i not in decided]
    truths = {i: simulated.Truth(planted.images[i].species, planted.images[i].box) for i in queue}
    done = simulated.decide(open_review(job.card.name), job.run.key, truths)
    applied = apply_decisions(job, simulated.NAME)
    return f"\n{done.text()}\n{applied.text()}"


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


def _run_loop(job: Job, planted: Planted, echo: Echo) -> list[str]:
    begun = time.perf_counter()
    with job.run.writing():
        if _is_later(job):
            job.reporter.say(f"starting from the weights of {_before(job).path}, with a shorter training")
            rounds.begin_round(job)
        stages.run_all(job)
        if _is_later(job):
            rounds.end_round(job)
    echo(f"\nThe loop took {(time.perf_counter() - begun) / 60:.1f} minutes. Of the planted problems it found:")
    found = report_planted(planted, read_predictions(job.run.predictions))
    for sentence in found:
        echo(f"  {sentence}")
    return found


def _change(job: Job, planted: Planted, echo: Echo) -> list[str]:
    from rsam_app.workflow.compare import compare

    before = Job.of_run(_before(job).path, [], job.reporter)
    compared = compare(before, job)
    tables = tuple(read_predictions(one.run.predictions) for one in (before, job))
    sentences = change_sentences(planted, (tables[0], tables[1]), compared.figures, compared.names)
    echo(f"\nWhat changed from {before.run.path} to {job.run.path}, which started from its weights:")
    for sentence in (*sentences, f"Image by image: {compared.page}"):
        echo(f"  {sentence}")
    return sentences


def _is_later(job: Job) -> bool:
    return rounds.round_of(job.run.path)[1] > 1


def _before(job: Job) -> RunFolder:
    first, number = rounds.round_of(job.run.path)
    return rounds.round_folder(first, number - 1)
