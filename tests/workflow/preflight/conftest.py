"""A folder of generated photographs, and a pipeline that trains on it in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline on 28 images of two classes in `photos/auk` and `photos/wren`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for n in range(28):
        add_image(tmp_path / "photos" / ("auk", "wren")[n % 2] / f"{n}.png", n)
    card = {"name": "preflight", "layout": "folder", "root": str(tmp_path / "photos"), "licence": "ours"}
    (tmp_path / "birds.yaml").write_text(yaml.safe_dump(card))
    content = {
        "dataset": str(tmp_path / "birds.yaml"),
        "model": {"backbone": "test_resnet", "weights": "none", "image_size": 32},
        "train": {"epochs": 1, "batch_size": 8, "workers": 0, "trackers": [], "discover_objects": False},
        "evaluate": {"stability_views": 0},
    }
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "p.yaml"


def add_image(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> None:
    """Write an image of noise, `size` as width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
