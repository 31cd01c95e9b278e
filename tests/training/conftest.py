"""A tiny dataset in the manifest layout, and a pipeline that trains on it in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

COLORS = {"rot": (220, 40, 40), "grün": (40, 200, 60), "blau": (50, 70, 230)}


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory) -> Path:
    """36 images of coloured blocks (train 22, val 2, test 12) and a pipeline for them."""
    folder = tmp_path_factory.mktemp("tiny data")
    draws = np.random.default_rng(0)
    rows = ["path,label,split,x,y,width,height"]
    for i in range(36):
        label = list(COLORS)[i % 3]
        image = draws.integers(90, 140, (48, 64, 3)).astype(np.uint8)
        x, y = (int(v) for v in draws.integers(4, 20, 2))
        image[y : y + 18, x : x + 24] = COLORS[label]
        Image.fromarray(image).save(folder / f"{i:02} é.png")
        rows.append(f"{i:02} é.png,{label},{'test' if i >= 24 else 'val' if i in (20, 22) else 'train'},{x},{y},24,18")
    (folder / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    card = {"name": "blocks", "layout": "manifest", "root": str(folder / "manifest.csv"), "licence": "CC0"}
    (folder / "blocks.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    pipeline = {
        "dataset": str(folder / "blocks.yaml"),
        "model": {"backbone": "test_resnet", "weights": "none", "image_size": 32},
        "train": {"epochs": 3, "batch_size": 8, "learning_rate": 0.002, "workers": 0, "precision": "float32"},
        "evaluate": {"batch_size": 5},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    return folder / "tiny.yaml"
