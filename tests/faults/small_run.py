"""A small trained and evaluated run for the tests of this folder, made within seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from command import rsam
from PIL import Image


def make_run(folder: Path, classes: Sequence[str] = tuple("abcd"), image: str = "{}.png") -> dict[str, Path]:
    """Write images of noise, 6 for training of each class, a card and a pipeline into `folder`, and train and evaluate
    `runs/one`; return their places by name, and an empty folder `out`."""
    draws = np.random.default_rng(0)
    for split, number in (("train", 6), ("val", 2), ("test", 2)):
        for name in classes:
            for n in range(number):
                path = folder / "images" / split / name / image.format(n)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draws.integers(0, 255, (70, 80, 3), dtype=np.uint8)).save(path)
    card, pipeline, run = folder / "card.yaml", folder / "birds.yaml", folder / "runs" / "one"
    card.write_text(f"name: birds\nlayout: folder\nroot: {folder / 'images'}\n", encoding="utf-8")
    model = {"backbone": "test_resnet", "weights": "none", "image_size": 64}
    train = {"epochs": 1, "batch_size": 12, "workers": 0, "trackers": [], "discover_objects": False}
    settings = {"dataset": str(card), "model": model, "train": train, "select": {"budget": 4}}
    pipeline.write_text(yaml.safe_dump(settings, allow_unicode=True, width=1000), encoding="utf-8")
    rsam("train", pipeline, "--run", run)
    rsam("evaluate", run)
    (folder / "out").mkdir()
    return {"run": run, "card": card, "pipeline": pipeline, "photograph": path, "out": folder / "out"}


def digests(folder: Path) -> dict[str, str]:
    """Of all files below but locks and a run's log, which every command writes."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("lock", "log.txt"))]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Files that were written, changed or removed."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def refusal_in(stderr: str) -> str:
    """The one message of a refused command, checked to be of one or two lines and no traceback."""
    assert "Traceback" not in stderr and "rsam: " in stderr, stderr
    said = stderr[stderr.index("rsam: ") :]
    assert said.count("\n") <= 2, stderr
    return said
