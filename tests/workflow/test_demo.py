"""The demo's two loops on a few beetles: the simulated reviewer decides, and the round learns from it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from command import rsam

from rsam_app.data.synthetic import generate, read_planted
from rsam_app.run.corrections import corrections_path, read_corrections
from rsam_app.system.progress import Reporter
from rsam_app.workflow.demo import run_demo as demo

PIPELINE = {
    "dataset": "set by rsam demo",
    "model": {
        "backbone": "test_resnet",
        "weights": "none",
        "image_size": 64,
    },
    "train": {"epochs": 1, "batch_size": 16, "workers": 0, "trackers": []},
    "evaluate": {"stability_views": 0},
    "select": {"budget": 8},
}
"""A tiny network, trained for an epoch: its accuracy does not matter here."""


def test_the_simulated_reviewer_reviews_once_and_the_round_starts_from_the_first_runs_weights(
    fiftyone_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "demo"
    generate(run.with_name("demo-data"), images_per_species=12, species=4)
    planted = read_planted(run.with_name("demo-data") / "planted.json")
    pipeline = tmp_path / "demo_pipeline.yaml"
    pipeline.write_text(yaml.safe_dump(PIPELINE))
    monkeypatch.setattr(demo, "PIPELINE", pipeline)
    monkeypatch.setattr(demo, "LATER_ROUND", ("train.epochs=1",))
    said: list[str] = []

    first = demo.run_demo(run, Reporter(), said.append, simulate_reviewer=True)
    name = first.job.card.name

    second = run.with_name("demo-round2")
    table = read_corrections(corrections_path(run, name))
    queue = {c.id for c in table}
    assert len(queue) == 8 and {c.who for c in table} == {"simulated reviewer"}
    assert {c.id: c.after for c in table if c.kind == "label"} == {
        i: t for i, t in planted.wrong_labels.items() if i in queue
    }
    text = "\n".join(said)
    assert "The simulated reviewer looked at 8 images" in text
    assert f"What changed from {run} to {second}, which started from its weights" in text
    assert "Test images: top-1" in text and "Shortcut: of the rectangles" in text
    weights = run / "model" / "model.safetensors"
    assert json.loads((second / "run.json").read_text())["weights"]["source"] == str(weights.resolve())
    before = weights.read_bytes()

    again = rsam("demo", "--run", run, "--no-app", "--simulate-reviewer", "--json")

    assert "already reviewed" in again.stderr
    result = json.loads(again.stdout)
    assert result["run"] == str(second) and result["metrics"]["n"] > 0
    assert result["found"] == first.found and result["changed"] == first.changed
    assert all(sentence in text for sentence in first.found + first.changed)
    assert not run.with_name("demo-round3").exists()
    assert read_corrections(corrections_path(run, name)) == table
    assert weights.read_bytes() == before
