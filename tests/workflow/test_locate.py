"""`rsam locate`: answers move the rectangles of other images, and it says how many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsam_app.geometry.types import Rectangle
from rsam_app.run.corrections import Correction, add_corrections, corrections_path, now, place_text
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter
from rsam_app.training.discovery.targets import moved
from rsam_app.workflow.locate import locate
from tests.command import rsam
from tests.patches import answered, write_set

CORNER = Rectangle(6.0, 6.0, 10.0, 10.0, 0.0)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch) -> Path:
    """A run that discovered every object in a corner; twelve rectangles were drawn, two others marked wrong."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    job = answered(write_set(tmp_path, 0.5))
    records = job.original.split("train")
    (job.run.path / "discovered.json").write_text(json.dumps({r.id: CORNER for r in records}), encoding="utf-8")
    wrong = [Correction(r.id, "place", "", place_text(False, CORNER), "someone", now(), "run") for r in records[20:22]]
    add_corrections(corrections_path(job.run.path, job.original.name), wrong)
    return job.run.path


def test_it_counts_what_moved_and_what_left_a_wrong_place(trained):
    job = Job.of_run(trained, [], Reporter())
    located = locate(job)
    records = job.original.split("train")
    answered_ids = {r.id for r in records[:12]}
    assert all(located.rectangles[key] == Rectangle(32, 32, 16, 16, 0) for key in answered_ids)
    assert answered_ids <= set(located.moved) and len(located.answers.wrong) == 2
    assert set(located.left) <= {r.id for r in records[20:22]}
    text = located.text()
    assert text.startswith(f"12 rectangles and 2 marked wrong: {len(located.moved)} of {len(located.rectangles)} ")
    assert f"of the 2 marked wrong {len(located.left)} are elsewhere now" in text


def test_the_command_prints_it_and_the_next_training_reads_it(trained):
    first = json.loads(rsam("locate", trained, "--no-fiftyone", "--json").stdout)
    assert first["right"] == 12 and first["wrong"] == 2
    again = rsam("locate", trained, "--no-fiftyone")
    assert "an earlier run discovered objects" in again.stderr and "12 rectangles and 2 marked wrong" in again.stdout


def test_without_answers_or_discovery_it_says_what_to_do(trained):
    job = Job.of_run(trained, [], Reporter())
    corrections_path(trained, job.original.name).unlink()
    with pytest.raises(UserError, match=r"nobody has answered(?s:.)*rsam apply"):
        locate(job)
    (trained / "discovered.json").unlink()
    with pytest.raises(UserError, match=r"discovered no objects(?s:.)*rsam train"):
        locate(job)


def test_moved_names_new_rectangles_and_those_elsewhere():
    near, far = Rectangle(7.0, 6.0, 10.0, 10.0, 0.0), Rectangle(40.0, 40.0, 10.0, 10.0, 0.0)
    assert moved({"a": CORNER, "b": CORNER}, {"a": near, "b": far, "c": far}) == ["c", "b"]
    assert moved({}, {"a": near}) == ["a"]
