"""The first images to label: without a run, a model, or any label."""

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
    """30 unlabelled photographs in three colours, and a pipeline with a random network."""
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
        "train": {"epochs": 1, "batch_size": 8, "workers": 0, "precision": "float32"},
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
    assert "9 images by herding" in said and f"Write their labels into {pipeline.parent / 'manifest.csv'}" in said
    write_labels(pipeline.parent, {i: ("red", "green", "blue")[i % 3] for i in first(pipeline, "--budget", 9)})
    rsam("train", pipeline, "--run", run)
    assert (run / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--strategy", "margin"), "'margin' is not a strategy that works without a trained model"),
        (("--strategy", "herd"), "'herd' is not a strategy that works"),
        (("--budget", 0), "budget is 0, expected at least 1"),
    ],
)
def test_an_invalid_option_is_refused(pipeline: Path, options: tuple[object, ...], said: str) -> None:
    refused = rsam("select-first", pipeline, "--run", pipeline.parent / "x", *options, check=2).stderr
    assert said in refused and "Traceback" not in refused


def test_a_budget_beyond_the_pool_takes_it_all(pipeline: Path) -> None:
    assert sorted(first(pipeline, "--budget", 99)) == list(range(30))


def test_if_all_have_labels_there_is_nothing_to_choose(pipeline: Path) -> None:
    write_labels(pipeline.parent, {i: "red" if i % 2 else "green" for i in range(30)})
    refused = rsam("select-first", pipeline, "--run", pipeline.parent / "x", check=2).stderr
    assert "all 30 images have labels" in refused


def test_the_order_of_the_manifest_does_not_matter_and_features_are_cached(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = first(pipeline, "--budget", 5)
    manifest = pipeline.parent / "manifest.csv"
    header, *rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([header, *reversed(rows)]))
    monkeypatch.setattr("rsam_app.evaluation.inference.model_runner.normalise", computed_again)
    assert first(pipeline, "--budget", 5) == chosen
    assert len(list((pipeline.parent / "runs" / "colours" / "selection").glob("*.csv"))) == 1
    write_labels(pipeline.parent, {chosen[0]: "red"})
    assert chosen[0] not in first(pipeline, "--budget", 5)


def computed_again(*_: object) -> None:
    raise AssertionError("features of an image were computed again")


def test_images_left_out_are_named(pipeline: Path) -> None:
    (pipeline.parent / "05.png").write_bytes(b"no image")
    card = yaml.safe_load((pipeline.parent / "card.yaml").read_text())
    (pipeline.parent / "card.yaml").write_text(yaml.safe_dump(card | {"max_broken_share": 0.1}))
    said = rsam("select-first", pipeline, "--run", pipeline.parent / "x", "--budget", 2).stderr
    assert "1 image is left out: 05.png (" in said
    assert json.loads((pipeline.parent / "x" / "run.json").read_text())["data"]["skipped"][0][0] == "05.png"


def test_its_manifest_is_not_replayed_and_the_message_says_what_to_do(pipeline: Path) -> None:
    first(pipeline, "--budget", 3)
    run = pipeline.parent / "runs" / "colours"
    (manifest,) = (run / "selection").glob("*.json")
    refused = rsam("select", run, "--replay", manifest, "--no-tag", check=2).stderr
    assert "by `rsam select-first`" in refused and "Rerun that command" in refused


def test_with_splits_they_are_moved_into_the_one_to_train_on(pipeline: Path) -> None:
    folder = pipeline.parent
    root = folder / "photographs"
    for i, place in enumerate(("train/red", "train/green", "test/red", "test/green", "incoming", "incoming")):
        (root / place).mkdir(parents=True, exist_ok=True)
        (folder / f"{i:02}.png").rename(root / place / f"{i}.png")
    card = {"name": "c", "layout": "folder", "root": str(root), "unlabelled": str(root / "incoming"), "licence": "CC0"}
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    said = rsam("select-first", pipeline, "--run", folder / "x", "--budget", 1).stdout
    assert f"Move them into class folders, {root / 'train' / 'CLASS'}" in said


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
