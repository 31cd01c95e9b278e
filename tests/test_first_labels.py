"""Which photographs to label first: without a run, without a model, without any label."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from command import rsam
from PIL import Image

COLOURS = ((220, 40, 40), (40, 200, 60), (50, 60, 230))


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """30 photographs in three colours, none with a label, and a pipeline with a random network."""
    rng = np.random.default_rng(0)
    for i in range(30):
        image = rng.integers(0, 25, (40, 40, 3)) + np.array(COLOURS[i % 3])
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{i:02}.png")
    write_labels(tmp_path, {})
    card = {"name": "colours", "layout": "manifest", "root": str(tmp_path / "manifest.csv"), "licence": "CC0"}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    settings = {
        "dataset": str(tmp_path / "card.yaml"),
        "model": {"backbone": "test_resnet", "weights": "none", "image_size": 32},
        "train": {"epochs": 1, "batch_size": 4, "workers": 0, "precision": "float32"},
    }
    (tmp_path / "colours.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path / "colours.yaml"


def write_labels(folder: Path, labels: dict[int, str]) -> None:
    rows = [f"{i:02}.png,{labels.get(i, '')}" for i in range(30)]
    (folder / "manifest.csv").write_text("path,label\n" + "\n".join(rows))


def first(pipeline: Path, *more: object) -> list[int]:
    """Numbers of the photographs chosen."""
    run = pipeline.parent / "runs" / "colours"
    said = rsam("select-first", pipeline, "--run", run, "--json", *more).stdout
    return [int(name[:2]) for name in json.loads(said)["ids"]]


def test_without_any_label_one_of_each_kind_comes_first(pipeline: Path) -> None:
    chosen = first(pipeline, "--budget", 3)
    assert sorted(i % 3 for i in chosen) == [0, 1, 2], "three colours, three photographs"
    assert first(pipeline, "--budget", 3) == chosen, "the same again"
    (table,) = (pipeline.parent / "runs" / "colours" / "selection").glob("*.csv")
    rows = list(csv.DictReader(table.open()))
    assert [int(row["id"][:2]) for row in rows] == chosen
    assert all(Path(row["path"]).is_file() and row["reason"] and not row["label"] for row in rows)


def test_images_that_are_too_alike_are_not_chosen_together(pipeline: Path) -> None:
    image = Image.open(pipeline.parent / "00.png")
    for i in range(3, 30):
        image.save(pipeline.parent / f"{i:02}.png")
    chosen = first(pipeline, "--budget", 5, "--set", "select.near_duplicates=.9999")
    assert len(chosen) == 3 and {1, 2} < set(chosen), "28 of the 30 are one photograph"


def test_what_has_a_label_counts_as_known(pipeline: Path) -> None:
    write_labels(pipeline.parent, {i: "red" for i in range(0, 15, 3)})
    assert sorted(i % 3 for i in first(pipeline, "--budget", 2)) == [1, 2], "of the other two colours"


def test_once_chosen_and_labelled_it_trains(pipeline: Path) -> None:
    run = pipeline.parent / "runs" / "colours"
    refused = rsam("train", pipeline, "--run", run, check=2).stderr
    assert "no image to train on has a label yet" in refused and "rsam select-first" in refused
    said = rsam("select-first", pipeline, "--run", run, "--budget", 9).stdout
    assert "9 images by auto" in said and f"Write their labels into {pipeline.parent / 'manifest.csv'}" in said
    write_labels(pipeline.parent, {i: ("red", "green", "blue")[i % 3] for i in first(pipeline, "--budget", 9)})
    rsam("train", pipeline, "--run", run)
    assert (run / "model" / "model.safetensors").is_file()


def test_a_strategy_that_asks_a_model_is_refused(pipeline: Path) -> None:
    refused = rsam("select-first", pipeline, "--run", pipeline.parent / "x", "--strategy", "margin", check=2).stderr
    assert "margin asks a model" in refused and "herding" in refused


def test_where_all_have_a_label_there_is_nothing_to_choose(pipeline: Path) -> None:
    write_labels(pipeline.parent, {i: "red" if i % 2 else "green" for i in range(30)})
    refused = rsam("select-first", pipeline, "--run", pipeline.parent / "x", check=2).stderr
    assert "every image has a label already" in refused


def test_a_folder_of_photographs_alone_is_enough(pipeline: Path) -> None:
    folder = pipeline.parent
    incoming = folder / "photographs" / "incoming"
    incoming.mkdir(parents=True)
    for path in folder.glob("*.png"):
        path.rename(incoming / path.name)
    root = folder / "photographs"
    card = {"name": "colours", "layout": "folder", "root": str(root), "unlabelled": str(incoming), "licence": "CC0"}
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    run = folder / "runs" / "colours"
    chosen = rsam("select-first", pipeline, "--run", run, "--budget", 6)
    assert f"Move them into class folders, {root / 'CLASS'}" in chosen.stdout
    (table,) = (run / "selection").glob("*.csv")
    for row in csv.DictReader(table.open()):
        number = int(Path(row["path"]).stem)
        (root / f"kind {number % 3}").mkdir(exist_ok=True)
        Path(row["path"]).rename(root / f"kind {number % 3}" / f"{number}.png")
    rsam("train", pipeline, "--run", run)
    assert (run / "model" / "model.safetensors").is_file()
