"""`rsam simulate`: simulated rounds of labelling or relabelling on a pipeline's dataset and backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rsam_app.data.records import Record
from rsam_app.run.job import Job
from rsam_app.selection.simulation.rounds import Oracle


@dataclass(frozen=True)
class SimulationResult:
    """The result of a simulation: `summary` for scripts, `text` for you."""

    summary: dict[str, Any]
    text: str


def simulate_rounds(
    job: Job, strategies: tuple[str, ...], rounds: int, start: int, budget: int, seeds: int, pool_share: float
) -> SimulationResult:
    """Simulate rounds of labelling into `RUN/simulation/`; finished simulations are reused. Raises `UserError`.

    The pool is the dataset's training and validation images; accuracy is measured on its test images.
    """
    from rsam_app.selection.simulation.run import Plan, simulate_all
    from rsam_app.selection.simulation.summary import summary_table

    plan = Plan(strategies, rounds, start, budget, seeds, pool_share)
    plan.find_strategies()
    plan.require_images(len(_pool(job)))
    oracle, made_from = make_oracle(job)
    job.create_run()
    with job.reporter.counter("simulating", len(strategies) * seeds) as advance:
        summary = simulate_all(oracle, made_from, plan, job.run.simulation, job.original.name, advance)
    return SimulationResult(summary, f"{summary_table(summary)}\n{job.run.simulation / 'curves.png'}")


def simulate_label_errors(job: Job, share: float, seeds: int) -> SimulationResult:
    """Plant wrong labels in the pool and measure how well each score finds them. Raises `UserError`."""
    from rsam_app.selection.simulation.label_noise import measure_label_noise, noise_table, require_noise

    require_noise(share, seeds, len(_pool(job)))
    oracle, _ = make_oracle(job)
    job.create_run()
    with job.reporter.counter("planting wrong labels", 2 * seeds) as advance:
        summary = measure_label_noise(oracle, job.original.classes, share, seeds, job.run.simulation, advance)
    return SimulationResult(summary, f"{noise_table(summary)}\n{job.run.simulation / 'label_errors.csv'}")


def make_oracle(job: Job) -> tuple[Oracle, str]:
    """Features and labels of the job's dataset, and a hash of the features' inputs."""
    from rsam_app.evaluation.inference.pretrained_features import pretrained_features
    from rsam_app.selection.simulation.logistic import scaled

    dataset = job.original
    dataset.require("test")
    pool = _pool(job)
    records = [*pool, *dataset.split("test")]
    job.report_weights()
    features, made_from = pretrained_features(job, records, dataset.classes)
    points = scaled(features)
    labels = np.array([dataset.class_index[record.label] for record in records], dtype=np.int64)
    count = len(pool)
    return Oracle(points[:count], labels[:count], points[count:], labels[count:], len(dataset.classes)), made_from


def _pool(job: Job) -> list[Record]:
    """The records to label: those for training and validation."""
    return sorted((*job.original.split("train"), *job.original.split("val")), key=lambda record: record.id)
