"""A job reports what its dataset leaves out, once, on the main process."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from rsam_app.run.job import Job
from rsam_app.system.progress import Reporter


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job of a card of 60 photographs and one file that is none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    noise = np.random.default_rng(0)
    for n in range(60):
        path = tmp_path / "photos" / ("auk", "wren")[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos" / "auk" / "bad.jpg").write_text("no image")
    card = {"name": "birds", "layout": "folder", "root": str(tmp_path / "photos"), "licence": "ours"}
    (tmp_path / "birds.yaml").write_text(yaml.safe_dump(card))
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"dataset": "birds.yaml"}))
    return Job.of_pipeline(str(tmp_path / "p.yaml"), [], tmp_path / "run", Reporter())


def said(job: Job) -> io.StringIO:
    """The stream that the job reports to from now on."""
    stream = io.StringIO()
    job.reporter.console = Console(file=stream, width=200, highlight=False)
    return stream


def test_a_broken_image_is_reported_once(job: Job) -> None:
    stream = said(job)
    assert len(job.original.records) == 60
    assert len(job.corrected.dataset.records) == 60
    lines = stream.getvalue().splitlines()
    assert lines.count("1 image is left out: auk/bad.jpg (not an image)") == 1
    assert any("no val split" in line for line in lines)
    assert len(lines) == 1 + len(job.original.notes)


def test_images_for_selection_are_reported_likewise(job: Job) -> None:
    stream = said(job)
    assert len(job.images.records) == 60
    assert stream.getvalue().splitlines() == ["1 image is left out: auk/bad.jpg (not an image)"]


def test_images_that_the_run_was_trained_on_are_reported_once_and_again_after_a_training(job: Job) -> None:
    first, second = (r.id for r in job.corrected.dataset.split("test")[:2])
    stream = said(job)
    assert job.measured.dataset is job.corrected.dataset
    job.run.path.mkdir(exist_ok=True)
    job.run.training_records.write_text(json.dumps([first]))
    splits = {r.id: r.split for r in job.measured.dataset.records}
    assert (splits[first], splits[second]) == ("train", "test")
    assert job.measured is job.measured
    job.run.training_records.write_text(json.dumps([first, second]))
    assert job.measured.moved == {"test": (first, second)}
    assert stream.getvalue().splitlines() == [
        f"test: 1 image is left out, as this run was trained on them: {first}",
        f"test: 2 images are left out, as this run was trained on them: {first}, {second}",
    ]


def test_val_is_evaluated_if_there_is_no_test_split(job: Job) -> None:
    assert job.evaluated_split == "test"
    dataset = job.corrected.dataset
    kept = tuple(r for r in dataset.records if r.split != "test")
    job.corrected = job.corrected._replace(dataset=dataclasses.replace(dataset, records=kept))
    assert job.evaluated_split == "val"


def test_other_processes_than_the_main_one_say_nothing(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert Reporter().console.quiet


def test_all_left_out_files_are_for_run_json(job: Job) -> None:
    left_out = job.left_out(job.original)
    assert left_out["skipped"] == [("auk/bad.jpg", "not an image")]
    assert left_out["skipped_masks"] == []
    assert left_out["notes"] == list(job.original.notes)
    job.run.path.mkdir()
    job.run.update_json(data=left_out)
    assert job.run.read_json()["data"]["skipped"] == [["auk/bad.jpg", "not an image"]]
