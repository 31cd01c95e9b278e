"""A run is measured on no image that it was trained on, and on `val` if there is no test split."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

from rsam_app.config import EvaluateConfig, ModelConfig, Pipeline
from rsam_app.model import build_model, save_model
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter
from rsam_app.workflow import stages


def paint(root: Path, folder: str, names: range) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for n in names:
        pixels = np.random.default_rng(n).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / folder / f"{n}.png")


def job_of(tmp_path: Path, run: RunFolder) -> Job:
    card = {"name": "birds", "layout": "folder", "root": str(tmp_path / "photos")}
    (tmp_path / "birds.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    config = ModelConfig(backbone="test_resnet", weights="none", image_size=32)
    evaluate = EvaluateConfig(stability_views=0)
    return Job(
        Pipeline(name="birds", dataset=str(tmp_path / "birds.yaml"), model=config, evaluate=evaluate), run, Reporter()
    )


def untrained(tmp_path: Path) -> Job:
    """The job of a run that says it was trained on its training images."""
    torch.manual_seed(0)
    job = job_of(tmp_path, RunFolder(tmp_path / "run"))
    job.run.save_pipeline(job.pipeline)
    save_model(build_model(job.pipeline.model, job.original.classes), job.run.model)
    trained = [r.id for r in job.original.split("train")]
    job.run.training_records.write_text(json.dumps(trained), encoding="utf-8")
    return job


def predicted(run: RunFolder, split: str = "test") -> set[str]:
    return set(pq.read_table(run.predictions / f"{split}.parquet")["id"].to_pylist())


def test_added_images_bring_no_training_image_into_the_test_split(tmp_path: Path) -> None:
    for label in "ab":
        paint(tmp_path / "photos", label, range(20))
    job = untrained(tmp_path)
    assert stages.evaluate(job, "test")["trained_on"] == []
    before = predicted(job.run)
    paint(tmp_path / "photos", "a", range(100, 140))
    again = job_of(tmp_path, job.run)
    metrics = stages.evaluate(again, "test")
    assert metrics["n"] > len(before)
    assert predicted(job.run) > before
    assert not predicted(job.run) & set(json.loads(job.run.training_records.read_text(encoding="utf-8")))


def test_training_images_in_the_test_split_are_left_out_named_and_stored(tmp_path: Path) -> None:
    for label in "ab":
        paint(tmp_path / "photos", label, range(20))
    job = untrained(tmp_path)
    leaked, *clean = sorted(r.id for r in job.original.split("test"))
    trained = [r.id for r in job.original.split("train")] + [leaked]
    job.run.training_records.write_text(json.dumps(trained), encoding="utf-8")
    said = io.StringIO()
    job.reporter.console = Console(file=said, width=200, highlight=False)
    metrics = stages.evaluate(job, "test")
    assert metrics["n"] == len(clean)
    assert metrics["trained_on"] == [leaked]
    assert predicted(job.run) == set(clean)
    assert leaked in predicted(job.run, "train")
    assert job.run.read_json()["data"]["trained_on"] == {"test": [leaked]}
    line = f"test: 1 image is left out, as this run was trained on them: {leaked}"
    assert said.getvalue().splitlines().count(line) == 1
    assert "the run was trained on them" in (job.run.evaluation / "report.html").read_text(encoding="utf-8")


def test_a_test_split_that_was_all_trained_on_is_refused(tmp_path: Path) -> None:
    for label in "ab":
        paint(tmp_path / "photos", label, range(20))
    job = untrained(tmp_path)
    job.run.training_records.write_text(json.dumps([r.id for r in job.original.records]), encoding="utf-8")
    with pytest.raises(UserError, match="was trained on all"):
        stages.evaluate(job, "test")


def test_without_a_test_split_val_is_evaluated_and_the_report_says_so(tmp_path: Path) -> None:
    for label in "ab":
        paint(tmp_path / "photos", f"train/{label}", range(8))
        paint(tmp_path / "photos", f"val/{label}", range(8, 12))
    job = untrained(tmp_path)
    metrics = stages.evaluate(job, job.evaluated_split)
    assert (metrics["split"], metrics["n"]) == ("val", 8)
    assert "validation images" in (job.run.evaluation / "report.html").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"no test split \(has: train, val\)"):
        stages.evaluate(job, "test")


def test_a_run_without_an_image_to_evaluate_is_refused_before_training(tmp_path: Path) -> None:
    for label in "ab":
        paint(tmp_path / "photos", label, range(1))
    job = job_of(tmp_path, RunFolder(tmp_path / "run"))
    with pytest.raises(UserError, match="the split 'test' is empty"):
        stages.run_all(job)
    assert not job.run.path.exists()
