"""`rsam init`: the card and the pipeline of a folder, ready for the command that it names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import rsam
from PIL import Image

from rsam_app.config import load_card, load_pipeline


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photographs of two classes in folders, below the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RSAM_DATA", raising=False)
    for label, shade in (("bolt", 40), ("nut", 200)):
        (tmp_path / "parts" / label).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (40, 40), (shade, 10 * i, 99)).save(tmp_path / "parts" / label / f"{i}.png")
    return tmp_path / "parts"


def test_the_pipeline_passes_the_check_that_init_names(parts, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(parts.parent / "cache"))
    (parts / "nut" / "11.png").unlink()
    said = rsam("init", "parts").stdout.splitlines()
    assert said == [
        f"{parts}: 23 images of 2 classes, in class folders",
        "fewest images: nut (11)",
        "wrote datasets/parts.yaml and pipelines/parts.yaml",
        "next: rsam check parts",
    ]
    report = json.loads(rsam("check", "parts", "--json", "--set", "model.weights=none").stdout)
    assert report["problems"] == []


def test_the_files_hold_what_was_asked_for(parts):
    rsam("init", "parts", "--name", "small", "--backbone", "resnet18")
    assert load_pipeline("small").model.backbone == "resnet18"
    card = load_card(load_pipeline("small").dataset)
    assert (card.name, card.layout, card.root) == ("small", "folder", str(parts))


def test_a_root_below_rsam_data_is_relative(parts, monkeypatch):
    monkeypatch.setenv("RSAM_DATA", str(parts.parent))
    rsam("init", "parts")
    assert load_card("parts").root == "parts" and load_card("parts").root_path == parts


@pytest.mark.parametrize("taken", ["datasets", "pipelines"])
def test_nothing_is_overwritten(parts, taken):
    file = Path(taken, "parts.yaml")
    file.parent.mkdir()
    file.write_text("mine")
    refused = rsam("init", "parts", check=2).stderr
    assert f"{file}: exists" in refused and "--name" in refused
    assert file.read_text() == "mine"
    assert sorted(path.name for path in parts.parent.iterdir()) == sorted(["parts", taken])


def test_photographs_without_labels_go_to_select_first(parts):
    said = json.loads(rsam("init", parts / "nut", "--json").stdout)
    assert (said["images"], said["unlabelled"], said["classes"]) == (0, 12, {})
    assert said["next"] == "rsam label nut"
    from rsam_app.data import load_images

    assert len(load_images(load_card("nut")).records) == 12
    assert load_images(load_card("nut")).notes == ()
