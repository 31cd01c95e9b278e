"""Keystrokes for the first 200 labels of `rsam label`, and the accuracy after them, against labelling at random.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/labelling_effort.py

Birds (CUB-200-2011) by features of a frozen MobileNetV2 from ImageNet: all species of the pipeline, and 20 of them,
others for each seed. An oracle labels 50 images at a time, chosen by `herding`, as `rsam label` does, or at random,
from nine tenths of the training images. Before each label the class is suggested by the nearest centroid of the labels
before; a right suggestion takes the key `7`. Any other label takes `l`, its letters, Enter, and Enter to execute: the
whole name of a class that has no image yet, else the letters until no other class with an image begins so. Numbers
before the species' names are not typed. Without suggestions every label is typed. The accuracy is that of a logistic
regression on the official test images. Results: `benchmarks/results/labelling_effort.json`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring.surroundings import where

from rsam_app.evaluation.metrics.paired import half_width
from rsam_app.run.job import Job
from rsam_app.selection import find_strategy
from rsam_app.selection.simulation.rounds import Oracle, simulate
from rsam_app.selection.simulation.suggested import suggested_right
from rsam_app.system.progress import Reporter
from rsam_app.workflow.simulate import make_oracle

RESULTS = Path(__file__).resolve().parent / "results" / "labelling_effort.json"
STRATEGIES = ("herding", "random")
BATCH, BATCHES, FEW = 50, 4, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("RSAM_WEIGHTS")
    weights = Path(folder) / "mobilenetv2_100.safetensors" if folder else None
    parser.add_argument("--weights", type=Path, default=weights, required=not weights, help="MobileNetV2's")
    parser.add_argument("--pipeline", default="cub_mobilenetv2")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("runs/labelling-effort"))
    arguments = parser.parse_args()
    settings = [f"model.weights={arguments.weights}"]
    job = Job.of_pipeline(arguments.pipeline, settings, arguments.folder, Reporter())
    with job.run.writing():
        oracle, _ = make_oracle(job)
    names = [name.lstrip("0123456789. ").replace("_", " ") for name in job.original.classes]
    report: dict[str, Any] = {"environment": where(), "labels": BATCH * BATCHES, "seeds": arguments.seeds}
    for classes in (FEW, oracle.classes):
        cells: dict[str, list[dict[str, float]]] = {strategy: [] for strategy in STRATEGIES}
        for seed in range(arguments.seeds):
            part, of_part = _some_classes(oracle, names, classes, seed)
            for strategy in STRATEGIES:
                cells[strategy].append(_cell(part.part(0.9, seed), of_part, strategy, seed))
        report[f"{classes} species"] = {strategy: _means(found) for strategy, found in cells.items()}
    print(json.dumps(report, indent=1))
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _some_classes(oracle: Oracle, names: Sequence[str], count: int, seed: int) -> tuple[Oracle, list[str]]:
    """The images of `count` random classes, with new numbers, and their names."""
    chosen = np.sort(np.random.default_rng((seed, 2)).permutation(oracle.classes)[:count])
    number = np.full(oracle.classes, -1)
    number[chosen] = np.arange(count)
    pool, test = (np.flatnonzero(number[labels] >= 0) for labels in (oracle.labels, oracle.test_labels))
    few = Oracle(
        oracle.points[pool],
        number[oracle.labels[pool]],
        oracle.test_points[test],
        number[oracle.test_labels[test]],
        count,
    )
    return few, [names[i] for i in chosen]


def _cell(oracle: Oracle, names: Sequence[str], strategy: str, seed: int) -> dict[str, float]:
    found = simulate(oracle, find_strategy(strategy), BATCHES - 1, BATCH, BATCH, seed)
    right = suggested_right(oracle.points, oracle.labels, found.order)
    typed = keystrokes([names[i] for i in oracle.labels[found.order]])
    with_7 = np.where(right, 1, typed)
    return {
        "suggestions accepted": float(right.mean()),
        "of the last 50": float(right[-BATCH:].mean()),
        "keys per label": float(with_7.mean()),
        "keys per label without suggestions": float(typed.mean()),
        "classes with a label": float(len(set(oracle.labels[found.order].tolist()))),
        **{f"accuracy after {BATCH * (i + 1)} labels": accuracy for i, accuracy in enumerate(found.accuracy)},
        **{f"keys for {count} labels": float(with_7[:count].sum()) for count in range(BATCH, len(right) + 1, BATCH)},
    }


def keystrokes(given: Sequence[str]) -> np.ndarray:
    """Keys to type each label, `(L,)`, in the order in which they are given."""
    known: set[str] = set()
    keys = []
    for name in given:
        others = [other.casefold() for other in known if other != name]
        shortest = (n for n in range(1, len(name)) if not any(o.startswith(name[:n].casefold()) for o in others))
        keys.append(3 + (next(shortest, len(name)) if name in known else len(name)))
        known.add(name)
    return np.array(keys)


def _means(cells: Sequence[dict[str, float]]) -> dict[str, Any]:
    columns = {name: np.array([cell[name] for cell in cells]) for name in cells[0]}
    return {
        name: {"mean": round(float(column.mean()), 3), "interval": round(half_width(column), 3)}
        for name, column in columns.items()
    }


if __name__ == "__main__":
    main()
