"""A stopped training resumes only with its own settings and images, and a refusal writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import rsam
from tests.workflow.preflight.conftest import add_image
from tests.workflow.preflight.test_check import contents


@pytest.fixture
def stopped(pipeline: Path) -> Path:
    """A run whose training stopped after its only epoch was saved, but before it finished."""
    run = pipeline.parent / "run"
    rsam("train", pipeline, "--run", run)
    content = json.loads((run / "run.json").read_text())
    del content["stages"]
    (run / "run.json").write_text(json.dumps(content))
    return run


@pytest.mark.parametrize("command", [("train", "--resume"), ("run",)])
def test_an_added_image_is_named_and_nothing_is_written(pipeline, stopped, command):
    before = contents(stopped)
    for n in range(20):
        add_image(pipeline.parent / "photos" / "auk" / f"new{n}.png", 50 + n)
    name, *options = command
    refused = rsam(name, pipeline, "--run", stopped, *options, check=2).stderr.splitlines()
    assert "training images added (auk/" in refused[-2] and "--restart" in refused[-1]
    assert contents(stopped) == before


def test_a_changed_setting_is_named_and_nothing_is_written(pipeline, stopped):
    before = contents(stopped)
    refused = rsam("train", pipeline, "--run", stopped, "--resume", "--set", "train.epochs=3", check=2).stderr
    assert "train.epochs was 1, now 3" in refused
    assert contents(stopped) == before


def test_without_resume_or_restart_it_is_left_alone(pipeline, stopped):
    before = contents(stopped)
    refused = rsam("train", pipeline, "--run", stopped, check=2).stderr
    assert "--resume" in refused and "--restart" in refused
    assert contents(stopped) == before


def test_it_resumes_with_its_own_settings_and_restarts_with_others(pipeline, stopped):
    rsam("train", pipeline, "--run", stopped, "--resume")
    assert "train" in json.loads((stopped / "run.json").read_text())["stages"]
    rsam("train", pipeline, "--run", stopped, "--restart", "--set", "train.epochs=2")
    assert len((stopped / "metrics.jsonl").read_text().splitlines()) == 2
