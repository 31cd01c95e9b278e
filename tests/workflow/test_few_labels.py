"""`rsam run` after a handful of labels: it holds out what it can, and says what it cannot measure."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from command import rsam
from PIL import Image

from rsam_app.run.corrections import Correction, add_corrections, corrections_path, now
from rsam_app.run.folder import RunFolder

NAME = "few_labels"
SMALL = {
    "dataset": NAME,
    "model": {"backbone": "test_resnet", "weights": "none", "image_size": 32},
    "train": {"epochs": 1, "batch_size": 8, "workers": 0, "precision": "float32"},
    "select": {"budget": 2},
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The run of 12 unlabelled photographs."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
    rsam("init", folder, "--name", NAME)
    Path("pipelines", f"{NAME}.yaml").write_text(yaml.safe_dump(SMALL))
    return RunFolder(Path("runs", NAME))


def give(run: RunFolder, *labels: str) -> None:
    """Label the first photographs, as the App does."""
    at = now()
    rows = [Correction(f"unlabelled/{i:02}.png", "label", "", name, "me", at, "") for i, name in enumerate(labels)]
    add_corrections(corrections_path(run.path, NAME), rows)


def test_images_of_one_class_are_too_few_and_it_says_how_many_more(run: RunFolder) -> None:
    assert "Label at least 2, of two classes" in rsam("run", NAME, check=2).stderr
    give(run, "red")
    said = rsam("run", NAME, check=2).stderr
    assert "1 image has a label, all of one class, 'red'" in said and "at least 1 more, of another class" in said
    assert not run.path.exists()


def test_it_trains_with_a_few_labels_and_evaluates_what_it_can_hold_out(
    run: RunFolder, fiftyone_module: ModuleType
) -> None:
    give(run, "red", "green")
    said = rsam("run", NAME)
    assert "not evaluated: no labelled image could be held out" in said.stderr
    assert run.read_json()["stages"].keys() == {
        "train",
        "predict train",
        "predict unlabelled",
        "calibrate",
        "review",
        "select",
    }
    predicted = fiftyone_module.load_dataset(NAME).count("few_labels_prediction")
    assert predicted == 12 and len(list((run.path / "selection").glob("*.csv"))) == 1
    assert run.read_metrics() is None

    fiftyone_module.delete_dataset(NAME)
    run.labelled_in_app.touch()
    give(run, *["red", "green"] * 3)
    said = rsam("run", NAME)
    assert f"`rsam label {NAME}` has not recorded yet are not read: FiftyOne has no dataset '{NAME}'" in said.stderr
    assert "(1 image) is held out, the same for every seed; 1 of 2 classes has none in it" in said.stderr
    assert "not evaluated" not in said.stderr and (metrics := run.read_metrics())
    assert (metrics["split"], metrics["n"]) == ("test", 1)
