"""Time and memory of every stage of the loop as the number of images grows.

    python benchmarks/stages.py [--images 1000 10000 100000]

The images are generated: 64 × 64 pixels of noise around the colour of one of 100 classes, three fifths of them for
training. The network is timm's `test_resnet`, so what grows is everything but the network's own arithmetic. Every stage
is a command of its own; memory is that of its largest process, without MongoDB. The growth of a stage is the exponent
between the last two sizes: 1 is linear. The database is a private one. Results: `benchmarks/results/stages.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from measuring.growth import growth
from measuring.surroundings import where
from PIL import Image

RESULTS = Path(__file__).resolve().parent / "results" / "stages.json"
CLASSES, SIDE = 100, 64
SPLITS = {"train": 0.6, "val": 0.2, "test": 0.2}
PIPELINE: dict[str, Any] = {
    "name": "stages",
    "dataset": "card.yaml",
    "model": {"backbone": "test_resnet", "weights": "none", "image_size": SIDE},
    "train": {"epochs": 1, "trackers": [], "batch_size": 64},
    "select": {"budget": 500},
}
STAGES: dict[str, tuple[str, ...]] = {
    "check": ("check", "pipeline.yaml"),
    "train": ("train", "pipeline.yaml", "--run", "run"),
    "predict": ("predict", "run", "--split", "all"),
    "evaluate": ("evaluate", "run"),
    "review": ("review", "run", "--no-app"),
    "review again": ("review", "run", "--no-app"),
    "select": ("select", "run"),
    "apply": ("apply", "run"),
    "export": ("export", "run", "subset", "--tag", "relabel"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", type=int, default=[1_000, 10_000, 100_000])
    sizes = parser.parse_args().images
    found: dict[str, dict[str, dict[str, float]]] = {}
    for images in sizes:
        with tempfile.TemporaryDirectory(prefix="rsam-stages-") as folder:
            generate(Path(folder), images)
            found[str(images)] = {name: measure(words, Path(folder)) for name, words in STAGES.items()}
        print(images, json.dumps(found[str(images)], indent=2), flush=True)
    report: dict[str, Any] = {"environment": where(), "stages": found}
    if len(sizes) > 1:
        few, many = sizes[-2:]
        seconds = {name: [found[str(images)][name]["seconds"] for images in (few, many)] for name in STAGES}
        report["growth"] = {name: growth(few, before, many, after) for name, (before, after) in seconds.items()}
        print(json.dumps(report["growth"], indent=2))
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def generate(folder: Path, images: int) -> None:
    """Write the images, one folder per split and class, with their card and pipeline."""
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 215, (CLASSES, 3))
    number = 0
    for split, share in SPLITS.items():
        for index in range(CLASSES):
            place = folder / "images" / split / f"class {index:02}"
            place.mkdir(parents=True)
            for _ in range(round(images * share / CLASSES)):
                noise = rng.integers(-40, 40, (SIDE, SIDE, 3))
                pixels = (colours[index] + noise).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.jpg", quality=80)
                number += 1
    card = {"name": f"stages-{images}", "layout": "folder", "root": str(folder / "images"), "licence": "CC0"}
    (folder / "card.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(PIPELINE), encoding="utf-8")


def measure(words: tuple[str, ...], folder: Path) -> dict[str, float]:
    """Seconds and the largest process's memory, MiB, of a command."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FIFTYONE_DATABASE")}
    environment["RSAM_DATABASE_DIR"] = str(folder / "database")
    with (folder / "log.txt").open("w+", encoding="utf-8") as log:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "rsam_app", *words]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        log.seek(0)
        if status:
            raise RuntimeError(f"rsam {' '.join(words)} ended with status {status}:\n{log.read()[-2000:]}")
    return {"seconds": round(seconds, 1), "mib": used.ru_maxrss >> 10}


if __name__ == "__main__":
    main()
