"""The cache of discovered objects: the next run reads it as long as nothing the rectangles depend on changed."""

from __future__ import annotations

import json
import os
import shutil

import timm
import yaml
from command import rsam
from safetensors.torch import save_file

from rsam_app.run.corrections import Correction, add_corrections, corrections_path, now
from rsam_app.training.discovery.targets import MAX_FILES, cache_discoveries, read_discoveries

RECTANGLES = {"a": (1.0, 2.0, 3.0, 4.0, 0.5), "ü/b": (5.0, 6.0, 7.0, 8.0, -0.25)}


def test_the_next_run_reads_what_the_last_one_discovered(tiny_pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = tmp_path / "data"
    shutil.copytree(tiny_pipeline.parent, data)
    card = yaml.safe_load((data / "blocks.yaml").read_text())
    (data / "blocks.yaml").write_text(yaml.safe_dump(card | {"root": str(data / "manifest.csv")}))
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.safetensors")
    pretrained = f"model.weights={tmp_path / 'weights.safetensors'}"

    def train(name: str, *extra: str) -> tuple[str, dict[str, list[float]]]:
        settings = [pretrained, f"dataset={data / 'blocks.yaml'}", "train.epochs=1", *extra]
        chosen = [word for setting in settings for word in ("--set", setting)]
        said = rsam("train", tiny_pipeline, "--run", tmp_path / name, *chosen).stderr
        return said, json.loads((tmp_path / name / "discovered.json").read_text())

    said, found = train("one")
    (path,) = (tmp_path / "cache").glob("rsam/discovered/*.json")
    assert "discovering objects in 22" in said and json.loads(path.read_text()) == found
    marked = {"00 é.png": [30.0, 20.0, 24.0, 18.0, 0.0]}  # another cached result
    path.write_text(json.dumps(marked))
    said, found = train("two", "train.learning_rate=0.001")
    assert "an earlier run discovered objects in 1 of 22" in said and "discovering objects" not in said
    assert found == marked
    assert "discovering objects" in train("other seed", "seed=1")[0]
    os.utime(data / "00 é.png", ns=(1, 1))
    assert "discovering objects" in train("changed file")[0]
    drawn = {"01 é.png": [20.0, 15.0, 24.0, 18.0, 0.0], "02 é.png": [30.5, 20.0, 22.0, 17.0, 0.25]}
    add_corrections(
        corrections_path(tmp_path / "taught", "blocks"),
        [Correction(key, "rectangle", "", json.dumps(drawn[key]), "me", now(), "one") for key in drawn],
    )
    said, found = train("taught")
    assert "discovering objects in 22 training images, taught by 2 rectangles" in said
    assert "rectangles moved since they were discovered without boxes" in said
    assert {key: found[key] for key in drawn} == drawn
    said, _ = train("taught again")
    assert "an earlier run discovered objects" in said and "2 rectangles answered" in said
    outlooks = [json.loads((tmp_path / name / "run.json").read_text())["discovery"] for name in ("one", "taught again")]
    assert outlooks == [None, {"answers": 2, "held_out_agreement": None, "flattens_after": None}]
    (outlook,) = (tmp_path / "cache").glob("rsam/discovered/*.outlook")
    outlook.write_text("{")
    assert "discovering objects in 22" in train("damaged outlook")[0]


def test_a_damaged_file_counts_as_missing(tmp_path):
    path = tmp_path / "cached" / "x.json"
    assert read_discoveries(path) is None
    assert cache_discoveries(path, RECTANGLES) is None and read_discoveries(path) == RECTANGLES
    for text in ("{", "[]", '{"a": [1, 2]}', '{"a": [1, 2, 3, 4, "wide"]}', '{"a": null}', "\x00\xff"):
        path.write_text(text, encoding="latin-1")
        assert read_discoveries(path) is None, text


def test_the_least_recently_used_file_is_removed_first(tmp_path):
    for i in range(MAX_FILES + 2):
        path = tmp_path / f"{i}.json"
        assert cache_discoveries(path, RECTANGLES) is None
        os.utime(path, ns=(i, i))
        if i == MAX_FILES - 1:
            read_discoveries(tmp_path / "0.json")
    assert (tmp_path / "0.json").exists()
    assert not (tmp_path / "1.json").exists() and not (tmp_path / "2.json").exists()


def test_a_folder_that_cannot_be_written_is_reported_without_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    problem = cache_discoveries(tmp_path / "file" / "x.json", RECTANGLES)
    assert problem is not None and "could not be cached" in problem
