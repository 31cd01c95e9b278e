"""The augmentation settings of a pipeline, valid and invalid."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rsam_app.config import AUGMENT_PRESETS, AugmentConfig, load_pipeline, read_pipeline
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter


def written(folder: Path, augment: object) -> Path:
    card = {"name": "birds", "layout": "folder", "root": "birds", "licence": "ours"}
    (folder / "birds.yaml").write_text(yaml.safe_dump(card))
    (folder / "p.yaml").write_text(yaml.safe_dump({"dataset": "birds.yaml", "train": {"augment": augment}}))
    return folder / "p.yaml"


@pytest.mark.parametrize("name", AUGMENT_PRESETS)
def test_a_preset_stands_for_its_keys(tmp_path, name):
    found = load_pipeline(written(tmp_path, name)).train.augment
    assert found == AugmentConfig(**AUGMENT_PRESETS[name])
    assert (found == AugmentConfig()) == (name == "standard")


@pytest.mark.parametrize("augment", ["strong", [{"HorizontalFlip": {"p": 0.5}}, {"Transpose": None}], []])
def test_augmentation_saved_in_a_run_reads_back_equal(tmp_path, augment):
    loaded = load_pipeline(written(tmp_path, augment))
    assert loaded.train.augment.transforms == (None if augment == "strong" else augment)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(loaded.model_dump(mode="json")))
    assert read_pipeline(tmp_path / "config.yaml") == loaded


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        ("wild", ["train.augment", "not a preset", "standard"]),
        ([{"HorizontalFlp": {}}], ["p.yaml: train.augment.transforms.0: HorizontalFlp", "no transform of that name"]),
        ([{"HorizontalFlip": {}}, {"Rotate": {"angle": 3}}], ["train.augment.transforms.1: Rotate", "angle", "limit"]),
        ({"extra": [{"ElasticTransform": {}}]}, ["train.augment.extra.0: ElasticTransform", "no rectangle follows"]),
        ({"transforms": [], "rotate": 10}, ["rotate would have no effect"]),
        (["HorizontalFlip"], ["train.augment", "entry 0", "'HorizontalFlip'", "- Name:"]),
        ([{"NoOp": {}}, {"HorizontalFlip": 0.5}], ["train.augment", "entry 1", "0.5"]),
    ],
)
def test_a_wrong_entry_is_named_when_the_pipeline_is_read(tmp_path, augment, expected):
    with pytest.raises(UserError) as caught:
        Job.of_pipeline(str(written(tmp_path, augment)), [], None, Reporter())
    message = str(caught.value)
    assert all(part in message for part in expected), message
    assert message.count("\n") <= 1


def test_a_wrong_override_is_named_too(tmp_path):
    path = written(tmp_path, "standard")
    with pytest.raises(UserError, match=r"train\.augment\.transforms\.0: Blurr"):
        Job.of_pipeline(str(path), ["train.augment=[{Blurr: {}}]"], None, Reporter())
    saved = RunFolder(tmp_path / "run")
    saved.save_pipeline(load_pipeline(path))
    with pytest.raises(UserError, match=r"train\.augment\.extra\.0: Blurr"):
        Job.of_run(saved.path, ["train.augment.extra=[{Blurr: {}}]"], Reporter())
