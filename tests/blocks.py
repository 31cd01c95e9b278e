"""Images of coloured blocks, and a pipeline that trains on them in a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml
from PIL import Image


def write_blocks(folder: Path, name: str, colours: Mapping[str, tuple[int, int, int]], **card: str) -> Path:
    """24 images, 8 of them for testing, of classes in turn, each of its colour; returns the pipeline.

    `name` is the dataset's; `card` has further keys of its card.
    """
    rng, rows, classes = np.random.default_rng(0), ["path,label,split"], list(colours)
    for i in range(24):
        label = classes[i % len(classes)]
        image = rng.integers(90, 140, (40, 40, 3)).astype(np.uint8)
        image[8:30, 8:30] = colours[label]
        Image.fromarray(image).save(folder / f"{i:02}.png")
        rows.append(f"{i:02}.png,{label},{'test' if i >= 16 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    content = {"name": name, "layout": "manifest", "root": str(folder / "manifest.csv"), "licence": "CC0", **card}
    (folder / "card.yaml").write_text(yaml.safe_dump(content))
    settings = {
        "dataset": str(folder / "card.yaml"),
        "model": {"backbone": "test_resnet", "weights": "none", "image_size": 32},
        "train": {"epochs": 1, "batch_size": 8, "workers": 0, "precision": "float32"},
        "select": {"budget": 3},
    }
    (folder / "blocks.yaml").write_text(yaml.safe_dump(settings))
    return folder / "blocks.yaml"
