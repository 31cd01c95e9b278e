"""The report of `rsam check`: what a training would use, what is left out, what is wrong, what it would cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsam_app.config import CROPPING
from rsam_app.data.left_out import left_out_lines
from rsam_app.run.job import Job
from rsam_app.workflow.preflight.check import Findings, check_training
from rsam_app.workflow.preflight.dataset_facts import counts_of, dataset_facts, summary_of
from rsam_app.workflow.preflight.stopped_training import is_stopped
from rsam_app.workflow.stage_inputs import train_inputs

if TYPE_CHECKING:
    from rsam_app.data import Dataset
    from rsam_app.model import AttentiveClassifier

TABLE_CLASSES = 20
"""Classes up to which the text lists each; more are summarised."""


@dataclass(frozen=True)
class PreflightReport:
    """Facts by topic, and what is wrong."""

    facts: dict[str, Any]
    warnings: list[str]
    problems: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        return {**self.facts, "warnings": self.warnings, "problems": self.problems}

    def text(self) -> str:
        """Return the report as text, one topic a line."""
        lines = [line for topic, fact in self.facts.items() for line in _lines(topic, fact)]
        lines += [_row("warning", warning) for warning in self.warnings]
        lines += [_row("PROBLEM", problem) for problem in self.problems]
        return "\n".join(lines)


def preflight_report(job: Job) -> PreflightReport:
    """Check `job` as `rsam run` would, and describe what it would use."""
    from rsam_app.training.choose_second_look import may_choose

    found = check_training(job, review=True)
    config = job.pipeline.model
    facts: dict[str, Any] = {"pipeline": job.pipeline.name, "run": f"{job.run.path}: {_state(job, found)}"}
    if found.dataset:
        facts["data"] = dataset_facts(found.dataset)
        if found.dataset.taxonomy:
            facts["taxonomy"] = str(found.dataset.taxonomy)
        if line := job.corrections_line():
            facts["reviewed"] = line
        facts["left out"] = left_out_lines(found.dataset, job.card.root_path)
    may_look_twice = found.dataset is not None and may_choose(job)
    second_look = ", with a second look" if config.second_look in CROPPING or may_look_twice else ""
    second_look += " if cross-validation finds it better" if may_look_twice else ""
    facts["model"] = f"{config.backbone}, attention {config.attention}, {config.image_size} pixels{second_look}"
    if found.model:
        facts["weights"] = dict(found.model.pretrained)
    if found.dataset and found.model:
        facts |= _cost(job, found.dataset, found.model, may_look_twice)
    if found.database:
        facts["database"] = found.database
    return PreflightReport(facts, found.warnings, found.problems)


def _state(job: Job, found: Findings) -> str:
    if not job.run.config_path.exists():
        return "new"
    if is_stopped(job.run):
        return "stopped before its end; `rsam run` resumes it"
    if "train" not in job.run.finished_stages:
        return "not trained"
    if found.dataset and job.run.stage_done("train", train_inputs(job)):
        return "trained; nothing changed"
    return "trained with other settings, data or corrections; `rsam run` trains it again"


def _cost(job: Job, dataset: Dataset, model: AttentiveClassifier, may_look_twice: bool) -> dict[str, Any]:
    from accelerate import PartialState

    from rsam_app.system.precision import choose_precision
    from rsam_app.workflow.preflight.cost import disk_bytes, minutes

    disk = disk_bytes(job.pipeline, dataset, model)
    device = PartialState().device
    precision = choose_precision(job.pipeline.train.precision, device)
    needed = minutes(job.pipeline, dataset, model, device, may_look_twice)
    return {
        "device": f"{device.type} in {precision}",
        "cost": {"minutes": round(needed, 1), "disk_mib": round(disk / 2**20)},
    }


def _lines(topic: str, fact: Any) -> list[str]:
    if topic == "data":
        return _data_lines(fact)
    if topic == "weights":
        return [_row(topic, _weights(fact))]
    if topic == "cost":
        return [_row(topic, f"about {fact['minutes']:g} minutes on one process, {fact['disk_mib']:,} MiB of disk")]
    return [_row(topic, line) for line in (fact if isinstance(fact, list) else [fact])]


def _data_lines(fact: dict[str, Any]) -> list[str]:
    sizes = ", ".join(f"{name} {width} × {height}" for name, (width, height) in fact["sizes"].items())
    classes: dict[str, dict[str, int]] = fact["classes"]
    lines = [_row("data", summary_of(fact)), _row("sizes", sizes)]
    if len(classes) <= TABLE_CLASSES:
        return lines + [_row("class", f"{name}: {counts_of(counts)}") for name, counts in classes.items()]
    training = sorted((counts.get("train", 0), name) for name, counts in classes.items())
    (least, rarest), (most, largest) = training[0], training[-1]
    return [*lines, _row("classes", f"{least:,} ({rarest}) to {most:,} ({largest}) training images; --json has all")]


def _weights(fact: dict[str, Any]) -> str:
    if not fact["tensors"]:
        return str(fact["source"])
    arrived = round(fact["arrived"] * fact["tensors"])
    return f"{fact['source']}: {arrived} of {fact['tensors']} tensors"


def _row(topic: str, text: str) -> str:
    return f"{topic:<10}{text}".replace("\n", "\n" + " " * 10)
