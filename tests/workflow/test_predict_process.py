"""`rsam predict` in a process of its own, on a small model with random weights."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from command import rsam
from PIL import Image

from rsam_app.config import ModelConfig, Pipeline, TrainConfig
from rsam_app.model import build_model, save_model
from rsam_app.review.plugin.predict_process import predict_in_child
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import read_predictions
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Step

CLASSES = ("blue tit", "crow")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    rng = np.random.default_rng(0)
    rows = [(f"{i}.png", CLASSES[i % 2], "test" if i > 5 else "train") for i in range(9)]
    for name, _, _ in rows:
        Image.fromarray(rng.integers(0, 255, (50, 70, 3)).astype(np.uint8)).save(tmp_path / name)
    write_manifest(tmp_path, rows)
    card = {"name": "noise", "layout": "manifest", "root": str(tmp_path / "manifest.csv"), "licence": "CC0"}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    torch.manual_seed(0)
    config = ModelConfig(backbone="test_resnet", weights="none", image_size=64)
    made = RunFolder(tmp_path / "runs" / "one")
    settings = TrainConfig(precision="float32", workers=0)
    made.save_pipeline(Pipeline(name="noise", dataset=str(tmp_path / "card.yaml"), model=config, train=settings))
    save_model(build_model(config, CLASSES), made.model)
    return made


def write_manifest(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label", "split"), *rows])


def end(run: RunFolder, splits: list[str] | None = None) -> tuple[list[str], list[Step]]:
    """The result, and the steps before it."""
    generator, steps = predict_in_child(run.path, splits), []
    while True:
        try:
            steps.append(next(generator))
        except StopIteration as stop:
            return stop.value, steps


def test_stale_splits_are_predicted_and_reported_step_by_step(run: RunFolder) -> None:
    predicted, steps = end(run)
    assert predicted == ["train", "val", "test"]
    finished = [step.title for step in steps if step.done == step.total]
    assert "predicting test" in finished and finished[-1] == "looking for near-duplicates"
    assert len(read_predictions(run.predictions)) == 9
    written = run.near_duplicates.stat().st_mtime_ns
    assert end(run)[0] == [], "nothing changed"
    assert run.near_duplicates.stat().st_mtime_ns == written


def test_near_duplicates_are_completed_with_another_split_and_after_a_kill(run: RunFolder, tmp_path: Path) -> None:
    shutil.copyfile(tmp_path / "2.png", tmp_path / "7.png")
    rsam("predict", run.path, "--split", "train")
    assert pq.read_table(run.near_duplicates).num_rows == 0, "its twin was not predicted yet"
    rsam("predict", run.path, "--split", "test")
    assert pq.read_table(run.near_duplicates).to_pylist() == [
        {"first": "7.png", "second": "2.png", "likeness": 1.0, "identical": True}
    ]
    run.near_duplicates.unlink()  # killed between the last split and this
    rsam("predict", run.path, "--split", "val")
    assert pq.read_table(run.near_duplicates).num_rows == 1


def test_an_error_is_passed_on(run: RunFolder) -> None:
    with run.writing(), pytest.raises(UserError, match="another process"):
        end(run, ["test"])
