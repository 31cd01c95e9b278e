"""The whole loop on real photographs through the command line: train, review, select, correct, export, retrain."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from command import rsam


def listed(photographs: Path, *splits: str) -> int:
    """The number of images in the release's own lists."""
    folder = photographs / "oxford-iiit-pet" / "annotations"
    return sum(len((folder / f"{split}.txt").read_text().splitlines()) for split in splits)


@pytest.fixture(scope="module")
def run(photographs, fiftyone_module, tmp_path_factory) -> Path:
    """Cats and dogs with a tiny untrained network: its accuracy does not matter here."""
    folder = tmp_path_factory.mktemp("loop")
    pipeline = {
        "dataset": "oxford_iiit_pet",
        "model": {"backbone": "test_resnet", "weights": "none", "image_size": 64},
        "train": {"epochs": 1, "batch_size": 64, "learning_rate": 0.002},
        "select": {"strategy": "auto", "budget": 30},
    }
    (folder / "pets.yaml").write_text(yaml.safe_dump(pipeline))
    rsam("run", folder / "pets.yaml", "--run", folder / "pets")
    return folder / "pets"


@pytest.fixture
def review_set(fiftyone_module, run):
    loaded = fiftyone_module.load_dataset("oxford_iiit_pet")
    loaded.reload()
    return loaded


def test_every_photograph_has_a_prediction_a_rectangle_and_a_sample(run, review_set, photographs):
    pets, test_pets = listed(photographs, "trainval", "test"), listed(photographs, "test")
    tables = {split: pq.read_table(run / "predictions" / f"{split}.parquet") for split in ("train", "val", "test")}
    assert sum(t.num_rows for t in tables.values()) == len(review_set) == pets
    assert tables["test"].num_rows == test_pets
    assert review_set.exists("pets_rectangle").count() == pets
    assert review_set.count("pets_attention.detections") == pets
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert metrics["n"] == test_pets and 0 <= metrics["top1"] <= metrics["top5"] <= 1
    where = metrics["localization"]
    assert {"mean_iou", "share_iou_50", "centre_box_mean_iou", "full_image_mean_iou"} <= set(where)
    assert {"max_box_acc_v2", "pointing_game"} <= set(where)
    assert (where["truth"], where["boxes_from"]) == ("boxes", "masks"), "test pets have masks and no boxes"
    assert where["masks"]["n"] == where["n"] > 0
    assert "<html" in (run / "evaluation" / "report.html").read_text()


def test_a_second_run_does_nothing(run):
    def written() -> dict[Path, int]:
        files = (p for p in run.rglob("*") if p.is_file() and p.name not in ("lock", "log.txt"))
        return {path: path.stat().st_mtime_ns for path in files}

    before = written()
    said = rsam("run", run.parent / "pets.yaml", "--run", run).stderr
    assert said.count("nothing changed") >= 3
    assert {
        p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file() and p.name not in ("lock", "log.txt")
    } == before


def test_a_second_review_makes_no_duplicates_and_keeps_tags(run, review_set, photographs):
    sample = review_set.first()
    sample.tags.append("mine")
    sample.save()
    said = rsam("review", run, "--no-app")
    assert "oxford_iiit_pet" in said.stdout
    review_set.reload()
    assert len(review_set) == listed(photographs, "trainval", "test") and review_set.match_tags("mine").count() == 1
    assert review_set.match_tags("relabel").count() == 30


def test_decisions_become_corrections_that_the_next_training_uses(run, review_set):
    chosen = review_set.match_tags("relabel").match({"split": "train"}).first()
    before = chosen.ground_truth.label
    after = "Bengal" if before != "Bengal" else "Bombay"
    chosen.ground_truth.label = after
    chosen.save()
    report = json.loads(rsam("apply", run, "--who", "reviewer", "--json").stdout)
    assert [(c["id"], c["before"], c["after"]) for c in report["added"]] == [(chosen.record_id, before, after)]
    assert json.loads(rsam("apply", run, "--json").stdout)["added"] == []
    again = run.parent / "again"
    rsam("train", run.parent / "pets.yaml", "--run", again)
    rsam("predict", again, "--split", "train")
    rows = pq.read_table(again / "predictions" / "train.parquet").to_pydict()
    assert rows["label"][rows["id"].index(chosen.record_id)] == after


def test_tagged_images_are_exported_once_and_nothing_is_overwritten(run, tmp_path):
    rsam("export", run, tmp_path / "subset", "--tag", "relabel", "--format", "manifest")
    with (tmp_path / "subset" / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["path"] for row in rows}) == 30
    assert all((tmp_path / "subset" / row["path"]).is_file() for row in rows)
    assert "subset" in rsam("export", run, tmp_path / "subset", "--tag", "relabel", check=2).stderr
    assert "nobody" in rsam("export", run, tmp_path / "none", "--tag", "nobody", check=2).stderr
    assert not (tmp_path / "none").exists()


def test_a_selection_larger_than_its_pool_takes_everything_and_reports_it(run):
    chosen = rsam("select", run, "--strategy", "margin", "--budget", 5000, "--split", "val", "--no-tag")
    assert "5000" in chosen.stdout and "by margin" in chosen.stdout
    assert "margin" in rsam("select", run, "--strategy", "margn", check=2).stderr
