"""Drawn boxes against a shortcut: where the object is found, and accuracy on usual and unusual backgrounds.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/shortcut.py

Three sets are built from photographs below RSAM_DATA and from the demo's beetles: small objects on backgrounds that
give the class away in 95 % of the training images and mislead in 75 % of the test images (`shortcuts/sets.py`). A
simulated reviewer draws boxes in some training images, each edge up to a tenth of the side off, 5 % of the boxes
anywhere. Objects are then discovered in all other training images and in the test images, at first without any boxes.

Figures: mean IoU of the upright box around the rectangle with the true box, and top-1 on test images with usual and
unusual backgrounds, of a logistic regression on features of a frozen MobileNetV2 at 224 px: of the whole image, of the
crop along the rectangle found, of that crop also on other images' backgrounds, and of the crop of the true box.

`--only-boxes` leaves the classifiers out, which take most of the time. Finished cells are saved in
`benchmarks/results/shortcut.jsonl` and skipped; the table is written to `benchmarks/results/shortcut.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.surroundings import where
from shortcuts.crops import SIDE, crops, exchanged, found_edges, pooled, shrunk
from shortcuts.reviewer import draw_boxes
from shortcuts.sets import SETS, build

from rsam_app.config import ModelConfig, load_card
from rsam_app.data import load_dataset
from rsam_app.data.images.decoding import read_image
from rsam_app.data.records import Dataset, Record
from rsam_app.evaluation.metrics.paired import half_width
from rsam_app.geometry.overlap import box_iou
from rsam_app.model import build_model
from rsam_app.system.precision import choose_precision
from rsam_app.training.discovery.discover import SIDE as CUT_SIDE
from rsam_app.training.discovery.discover import learn_untaught, locate_objects
from rsam_app.training.discovery.objectness import Objectness
from rsam_app.training.discovery.taught import make_lessons, teach
from rsam_app.training.features.late_stages import CachedLateStages
from rsam_app.training.features.source import FeatureSource
from rsam_app.training.warm_start import logistic_regression

RESULTS = Path(__file__).resolve().parent / "results"
ANSWERS = (0, 9, 23, 45, 91)
DECAY = 1e-3
SPLITS = ("train", "test")

Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("RSAM_WEIGHTS")
    weights = Path(folder) / "mobilenetv2_100.safetensors" if folder else None
    parser.add_argument("--weights", type=Path, default=weights, required=not weights, help="MobileNetV2's")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--answers", nargs="+", type=int, default=list(ANSWERS), help="numbers of drawn boxes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only-boxes", action="store_true", help="no classifiers")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "rsam" / "benchmarks")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    log = arguments.results / "shortcut.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    done = {(row["set"], row["boxes"], row["seed"], "crop_unusual" in row) for row in rows}
    for name in arguments.sets:
        card = build(name, arguments.cache / f"shortcut-{name}-0", 0)
        data = Shortcut(load_dataset(load_card(str(card)), 0), arguments.weights)
        for seed in range(arguments.seeds):
            for boxes in arguments.answers:
                if (name, boxes, seed, not arguments.only_boxes) not in done and not (boxes == 0 and seed):
                    rows.append(_run(data, name, boxes, seed, arguments.only_boxes, log))
    (arguments.results / "shortcut.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


def _run(data: Shortcut, name: str, boxes: int, seed: int, only_boxes: bool, log: Path) -> dict[str, Any]:
    figures = {**data.locate(boxes, seed), **({} if only_boxes else data.classify(boxes, seed))}
    row = {"set": name, "boxes": boxes, "seed": seed, **{k: round(v, 4) for k, v in figures.items()}}
    print(row, flush=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({**row, "environment": where()}) + "\n")
    return row


@dataclass(frozen=True)
class Shortcut:
    """A shortcut set with a frozen backbone."""

    dataset: Dataset
    weights: Path

    @cached_property
    def source(self) -> FeatureSource:
        model = build_model(
            ModelConfig(backbone="mobilenetv2_100", weights=str(self.weights), image_size=SIDE, attention="none"),
            self.dataset.classes,
        )
        cpu = torch.device("cpu")
        return FeatureSource(model, self.dataset.class_index, cpu, choose_precision("auto", cpu), 1)

    @cached_property
    def late(self) -> dict[str, tuple[torch.Tensor, np.ndarray]]:
        """Late maps and thumbnails by split."""
        found = {}
        for split in SPLITS:
            records = self.dataset.split(split)
            maps, images = zip(
                *CachedLateStages(self.source, records).late_stages(records, 2 * SIDE, CUT_SIDE), strict=True
            )
            found[split] = torch.cat(maps), np.concatenate(images)
        return found

    @cached_property
    def untaught(self) -> Objectness:
        records = self.dataset.split("train")
        return learn_untaught(CachedLateStages(self.source, records), records, 2 * SIDE, 0)

    def edges(self, boxes: int, seed: int) -> tuple[dict[str, np.ndarray], float]:
        """Upright boxes `(N, 4)` found with this number of answers, by split, and the seconds that teaching took."""
        training = self.dataset.split("train")
        answers = draw_boxes(training, boxes, seed)
        begun = time.perf_counter()
        objectness = self.untaught
        if answers:
            maps = self.late["train"][0]
            objectness = teach(objectness, maps, make_lessons(answers, training, *maps.shape[2:]), 0)
        seconds, found = time.perf_counter() - begun, {}
        for split in SPLITS:
            records = self.dataset.split(split)
            rectangles = locate_objects(objectness, *self.late[split], records, 0, objectness is not self.untaught)
            told = [answers.right.get(r.id, one) for r, one in zip(records, rectangles, strict=True)]
            found[split] = found_edges(told, _sizes(records))
        return found, seconds

    def locate(self, boxes: int, seed: int) -> Figures:
        """Mean IoU with the true boxes in the test images and in the training images without an answer."""
        answered = draw_boxes(self.dataset.split("train"), boxes, seed).right
        found, seconds = self.edges(boxes, seed)
        figures = {"seconds_to_teach": seconds}
        for split in SPLITS:
            records = self.dataset.split(split)
            ious = box_iou(found[split], true_edges(records))
            figures[f"iou_{split}"] = float(ious[[r.id not in answered for r in records]].mean())
        return figures

    def classify(self, boxes: int, seed: int) -> Figures:
        """Top-1 on usual and unusual backgrounds of every classifier."""
        found, _ = self.edges(boxes, seed)
        truth = {split: true_edges(self.dataset.split(split)) for split in SPLITS}
        figures = {}
        for name, edges in (("whole", None), ("crop", found), ("true_crop", truth)):
            if name == "crop" or boxes == 0:
                figures |= self._accuracies(name, edges, exchange=False, seed=seed)
        return figures | self._accuracies("exchanged", found, exchange=True, seed=seed)

    def _accuracies(self, name: str, edges: dict[str, np.ndarray] | None, exchange: bool, seed: int) -> Figures:
        draws, views = np.random.default_rng((seed, 5)), {}
        for split in SPLITS:
            images = self.images[split]
            views[split] = [shrunk(images) if edges is None else crops(images, edges[split])]
            if exchange and edges is not None and split == "train":
                views[split].append(crops(exchanged(images, edges[split], draws), edges[split]))
        training, test = (pooled(self.source, np.concatenate(views[split])) for split in SPLITS)
        labels = {s: np.array([self.dataset.class_index[r.label] for r in self.dataset.split(s)]) for s in SPLITS}
        mean, spread = training.mean(axis=0), training.std(axis=0) + 1e-6
        inputs = [torch.from_numpy((one - mean) / spread).float() for one in (training, test)]
        given = torch.from_numpy(np.tile(labels["train"], len(views["train"])))
        weight, bias, _ = logistic_regression(inputs[0], given, len(self.dataset.classes), DECAY)
        right = (inputs[1] @ weight.T + bias).argmax(dim=1).numpy() == labels["test"]
        groups = np.array([r.group for r in self.dataset.split("test")])
        return {f"{name}_{group}": float(right[groups == group].mean()) for group in ("usual", "unusual")}

    @cached_property
    def images(self) -> dict[str, np.ndarray]:
        """Whole images `(N, 2 SIDE, 2 SIDE, 3)` by split."""
        return {split: np.stack([_square(record) for record in self.dataset.split(split)]) for split in SPLITS}


def true_edges(records: tuple[Record, ...]) -> np.ndarray:
    """The true boxes `(N, 4)`, edges as shares of the images' sides."""
    boxes = np.array([r.boxes[0] for r in records])
    edges = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return np.clip(edges / np.tile(_sizes(records), 2), 0, 1)


def _sizes(records: tuple[Record, ...]) -> np.ndarray:
    return np.array([(r.width, r.height) for r in records], dtype=np.float64)


def _square(record: Record) -> np.ndarray:
    import cv2

    return cv2.resize(read_image(record.path)[0], (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_LINEAR)


def table(rows: list[dict[str, Any]]) -> str:
    """Mean figures per set and number of boxes, as Markdown, with 95 % intervals over seeds."""
    cells: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        cells[row["set"], row["boxes"]].append(row)
    names = ["iou_train", "iou_test"]
    names += [f"{m}_{g}" for m in ("whole", "crop", "exchanged", "true_crop") for g in ("usual", "unusual")]
    lines = [
        "# Drawn boxes against a shortcut\n",
        f"| set | boxes | {' | '.join(names)} | n |",
        "|---" * (len(names) + 3) + "|",
    ]
    for (name, boxes), found in sorted(cells.items()):
        figures = [_figure([row[key] for row in found if key in row]) for key in names]
        lines.append(f"| {name} | {boxes} | {' | '.join(figures)} | {len(found)} |")
    return "\n".join(lines) + "\n"


def _figure(values: list[float]) -> str:
    if len(values) < 2:
        return "".join(f"{value:.3f}" for value in values)
    return f"{np.mean(values):.3f} ± {half_width(np.array(values)):.3f}"


if __name__ == "__main__":
    main()
