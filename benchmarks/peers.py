"""Accuracy against minutes, beside what somebody would run instead.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/peers.py [--ways … --epochs 1 3 6] [--python PYTHON]

Every way gets the same photographs, pixels, weights, processor and number of epochs, and is a process of its own: its
minutes are those from the command to the predicted test images, imports included. No way sees the boxes.

    frozen            rsam train with one look and a frozen backbone (three epochs, whatever `--epochs` says), rsam
                      predict
    frozen_second_look  the same with `second_look: true`
    finetuned         rsam train with one look, rsam predict
    finetuned_second_look  the same with `second_look: unsure`, which `auto` chooses on these photographs
    plain             rsam train, rsam predict with `attention: none`
    timm_recipe       timm's augmentation, optimizer and schedule; bfloat16, channels last
    fastai_fine_tune  fastai's fine_tune with its own learning rate
    transformers_trainer  Hugging Face's Trainer, as in its image classification example
    linear_head       scikit-learn on features of the frozen network

The network is EfficientNet-Lite0: the batch-norm statistics of the MobileNetV2 weights at hand must not be trained, but
fastai trains them. The frozen ways train at the default of `train.learning_rate`; `finetuned`,
`plain`, `timm_recipe` and `transformers_trainer` at `RATE`, chosen by `finetuning.py --tune`. PYTHON
is an interpreter that has fastai and transformers, which RSAM does not need. Rows are added to `results/peers.jsonl`,
and those that are there are skipped; the table is written to `results/peers.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from measuring.surroundings import where

from rsam_app.config import load_card
from rsam_app.data import load_dataset
from rsam_app.data.records import Dataset
from rsam_app.evaluation.metrics.paired import half_width

RESULTS = Path(__file__).resolve().parent / "results"
ALTERNATIVES = Path(__file__).resolve().parent / "alternatives"
FROZEN: dict[str, Any] = {"frozen_backbone": True, "epochs": 3, "learning_rate": 3e-4}
OURS: dict[str, dict[str, dict[str, Any]]] = {
    "frozen": {"model": {"attention": "rsam", "second_look": False}, "train": FROZEN},
    "frozen_second_look": {"model": {"attention": "rsam", "second_look": True}, "train": FROZEN},
    "finetuned": {"model": {"attention": "rsam", "second_look": False}, "train": {}},
    "finetuned_second_look": {"model": {"attention": "rsam", "second_look": "unsure"}, "train": {}},
    "plain": {"model": {"attention": "none"}, "train": {}},
}
THEIRS = ("timm_recipe", "fastai_fine_tune", "transformers_trainer", "linear_head")
ONCE = ("frozen", "frozen_second_look", "linear_head")
"""Ways that the number of epochs does not change."""
RATE = 1e-3
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", default=[*OURS, *THEIRS], choices=[*OURS, *THEIRS])
    parser.add_argument("--cards", nargs="+", default=["cub_200_2011", "oxford_iiit_pet"])
    parser.add_argument("--epochs", nargs="+", type=int, default=[1, 3, 6])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--side", type=int, default=224, help="of the input, in pixels")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the alternatives")
    arguments = parser.parse_args()
    log = RESULTS / "peers.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    done = {(row["card"], row["backbone"], row["side"], row["way"], row["epochs"], row["seed"]) for row in rows}
    for seed in arguments.seeds:
        for card in arguments.cards:
            dataset = load_dataset(load_card(card), seed)
            for way in arguments.ways:
                for epochs in [3] if way in ONCE else arguments.epochs:
                    key = (card, arguments.backbone, arguments.side, way, epochs, seed)
                    if key in done:
                        continue
                    names = ("card", "backbone", "side", "way", "epochs", "seed")
                    cell = dict(zip(names, key, strict=True))
                    rows.append({**cell, **run_cell(cell, dataset, arguments.python), "environment": where()})
                    print(json.dumps({k: v for k, v in rows[-1].items() if k != "environment"}), flush=True)
                    with log.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(rows[-1]) + "\n")
                    (RESULTS / "peers.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


def run_cell(cell: dict[str, Any], dataset: Dataset, python: str) -> dict[str, Any]:
    """Top-1 on the test images, and what it took: minutes, and minutes of processor time."""
    with tempfile.TemporaryDirectory() as folder:
        solve = _ours if cell["way"] in OURS else _theirs
        begun, used = time.perf_counter(), _processor_seconds()
        predicted = solve(cell, dataset, Path(folder), python)
        minutes, processor = (time.perf_counter() - begun) / 60, (_processor_seconds() - used) / 60
    right = np.mean([name == record.label for name, record in zip(predicted, dataset.split("test"), strict=True)])
    cores = len(os.sched_getaffinity(0))
    return {
        "top1": round(float(right), 4),
        "minutes": round(minutes, 2),
        "processor_minutes": round(processor, 2),
        "cores": cores,
    }


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ours(cell: dict[str, Any], dataset: Dataset, folder: Path, python: str) -> list[str]:
    settings = OURS[cell["way"]]
    pipeline = {
        "name": "peers",
        "dataset": cell["card"],
        "seed": cell["seed"],
        "model": {"backbone": cell["backbone"], "image_size": cell["side"], **settings["model"]},
        "train": {
            "epochs": cell["epochs"],
            "learning_rate": RATE,
            "batch_size": BATCH,
            "trackers": [],
            **settings["train"],
        },
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    rsam = [sys.executable, "-m", "rsam_app"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}  # nothing that an earlier cell computed
    run, answer = str(folder / "run"), folder / "answer.jsonl"
    _do([*rsam, "train", str(folder / "pipeline.yaml"), "--run", run], environment)
    paths = [str(record.path) for record in dataset.split("test")]
    _do([*rsam, "predict", run, "-", "--output", str(answer)], environment, "\n".join(paths))
    found = {row["path"]: row["predicted"] for row in map(json.loads, answer.read_text(encoding="utf-8").splitlines())}
    return [found[path] for path in paths]


def _theirs(cell: dict[str, Any], dataset: Dataset, folder: Path, python: str) -> list[str]:
    problem = {
        "train": [
            (str(r.path), dataset.class_index[r.label]) for r in (*dataset.split("train"), *dataset.split("val"))
        ],
        "test": [str(record.path) for record in dataset.split("test")],
        "classes": len(dataset.classes),
        "backbone": cell["backbone"],
        "weights": str(Path(os.environ["RSAM_WEIGHTS"]) / f"{cell['backbone']}.safetensors"),
        "side": cell["side"],
        "epochs": cell["epochs"],
        "learning_rate": RATE,
        "batch": BATCH,
        "seed": cell["seed"],
        "answer": str(folder / "answer.json"),
    }
    (folder / "problem.json").write_text(json.dumps(problem), encoding="utf-8")
    # In a folder of its own: transformers takes our folder `datasets` for a package.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    _do([python, str(ALTERNATIVES / f"{cell['way']}.py"), str(folder / "problem.json")], environment, place=folder)
    return [dataset.classes[index] for index in json.loads((folder / "answer.json").read_text(encoding="utf-8"))]


def _do(command: list[str], environment: dict[str, str], given: str = "", place: Path | None = None) -> None:
    done = subprocess.run(command, env=environment, input=given, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def table(rows: list[dict[str, Any]]) -> str:
    """Top-1 and minutes of each way and number of epochs, as Markdown."""
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        cells[row["card"], row["backbone"], row["side"], row["cores"], row["way"], row["epochs"]].append(row)
    lines = [
        "# Accuracy against minutes, beside what somebody would run instead\n",
        "Mean ± half a 95 % interval over seeds; minutes from the command to the predicted test images.\n",
        "| data | backbone | side | cores | way | epochs | top-1 % | minutes | seeds |",
        "|---" * 9 + "|",
    ]
    order = [*OURS, *THEIRS]
    for key, found in sorted(cells.items(), key=lambda cell: (*cell[0][:4], order.index(cell[0][4]), cell[0][5])):
        top1 = np.array([100 * row["top1"] for row in found])
        spread = f" ± {half_width(top1):.1f}" if len(top1) > 1 else ""
        minutes = np.median([row["minutes"] for row in found])
        lines.append(f"| {' | '.join(map(str, key))} | {top1.mean():.1f}{spread} | {minutes:.1f} | {len(found)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
