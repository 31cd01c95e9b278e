"""TensorBoard curves, read back from the event files."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from command import rsam, stop_at_first_checkpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

LONG = ("--set", "train.epochs=8", "--set", "train.discover_objects=false")


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture(scope="module")
def whole_run(tiny_pipeline, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    rsam("train", tiny_pipeline, "--run", run, *LONG)
    return run


def test_curves_equal_the_log(whole_run):
    found = curves(whole_run)
    log = [json.loads(line) for line in (whole_run / "metrics.jsonl").read_text().splitlines()]
    updates = [step for step, _ in found["epoch/train_loss"]]
    assert len(updates) == 8 and updates == [updates[0] * n for n in range(1, 9)]
    for name in ("train_loss", "val_top1", "learning_rate"):
        assert [value for _, value in found[f"epoch/{name}"]] == pytest.approx([entry[name] for entry in log])
    assert [step for step, _ in found["update/loss"]] == list(range(10, updates[-1] + 1, 10))


def test_the_settings_are_written_beside_the_curves(whole_run):
    written = (whole_run / "tensorboard").rglob("hparams.yml")
    assert "train.learning_rate: 0.002" in next(written).read_text()


def test_a_resumed_run_continues_its_curves_as_if_it_had_never_stopped(tiny_pipeline, whole_run, tmp_path):
    run = tmp_path / "stopped"
    assert stop_at_first_checkpoint(signal.SIGKILL, run, tiny_pipeline, *LONG) == -signal.SIGKILL
    rsam("train", tiny_pipeline, "--run", run, "--resume", *LONG)
    expected, found = curves(whole_run), curves(run)
    assert set(found) == set(expected)
    for tag in set(expected) - {"epoch/seconds", "epoch/data_wait", "epoch/validation_seconds"}:
        assert found[tag] == expected[tag], tag


def test_a_restarted_run_starts_new_curves(tiny_pipeline, whole_run, tmp_path):
    run = tmp_path / "again"
    rsam("train", tiny_pipeline, "--run", run, "--set", "train.epochs=2")
    rsam("train", tiny_pipeline, "--run", run, "--set", "train.epochs=1", "--restart")
    assert len(curves(run)["epoch/train_loss"]) == 1


def test_no_trackers_write_nothing(tiny_pipeline, tmp_path):
    rsam("train", tiny_pipeline, "--run", tmp_path / "x", "--set", "train.epochs=1", "--set", "train.trackers=[]")
    assert not (tmp_path / "x" / "tensorboard").exists()


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("mlflow", "mlflow"), ("comet_ml", "comet-ml")])
def test_a_tracker_that_is_not_installed_names_its_package(tiny_pipeline, tmp_path, name, package):
    refused = rsam("train", tiny_pipeline, "--run", tmp_path / "x", "--set", f"train.trackers=[{name}]", check=2)
    assert f"pip install {package}" in refused.stderr and "Traceback" not in refused.stderr


def test_an_unknown_tracker_gets_a_suggestion(tiny_pipeline, tmp_path):
    refused = rsam("train", tiny_pipeline, "--run", tmp_path / "x", "--set", "train.trackers=[tensorbord]", check=2)
    assert "Did you mean 'tensorboard'?" in refused.stderr


def test_a_tracker_that_does_not_start_is_reported_with_the_reason(tiny_pipeline, tmp_path):
    run = tmp_path / "x"
    once = ("train", tiny_pipeline, "--run", run, "--set", "train.epochs=1")
    rsam(*once, "--set", "train.trackers=[]")
    (run / "tensorboard").write_text("a file where the curves should be")
    refused = rsam(*once, "--restart", check=2)
    assert "train.trackers: tensorboard does not start" in refused.stderr and "Traceback" not in refused.stderr
