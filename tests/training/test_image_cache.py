"""Training gives the same weights with decoded and with cached images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from command import rsam
from PIL import Image
from safetensors.torch import load_file

from rsam_app.system.cache.rows import cache_home


@pytest.fixture
def larger(tiny_pipeline, tmp_path) -> Path:
    """The same dataset with images large enough to be shrunk at reading."""
    folder = shutil.copytree(tiny_pipeline.parent, tmp_path / "larger")
    for path in folder.glob("*.png"):
        image = Image.open(path)
        image.resize((2 * image.width, 2 * image.height)).save(path)
    card = yaml.safe_load((folder / "blocks.yaml").read_text(encoding="utf-8"))
    card["root"] = str(folder / "manifest.csv")
    (folder / "blocks.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    return folder / "tiny.yaml"


def test_cold_warm_evicted_and_absent_caches_end_with_the_very_same_weights(larger, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    card = larger.parent / "blocks.yaml"
    augment = "train.augment.extra=[{SafeRotate: {p: 0.5}}, {RandomCrop: {height: 50, width: 50}}]"
    settings = [f"dataset={card}", "train.epochs=1", "train.discover_objects=false", augment]
    found, said = {}, {}
    for name, limit in {"absent": "0", "cold": "1", "warm": "1", "evicted": "1"}.items():
        monkeypatch.setenv("RSAM_CACHE_GIB", limit)
        if name == "evicted":
            shutil.rmtree(cache_home())
        words = [word for setting in settings for word in ("--set", setting)]
        done = rsam("train", larger, "--run", tmp_path / name, *words)
        said[name] = done.stdout + done.stderr
        found[name] = load_file(tmp_path / name / "model" / "model.safetensors")
    assert "images are not cached" in said["absent"]
    assert all("images are cached: 24 (" in said[name] for name in ("cold", "warm", "evicted"))
    assert len(list(cache_home().glob("images-*"))) == 1
    for name in ("cold", "warm", "evicted"):
        assert all(bool((values == found[name][key]).all()) for key, values in found["absent"].items())
