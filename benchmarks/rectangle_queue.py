"""Which images to ask about: rectangles found in test images after few answers, by the strategy that chose them.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/rectangle_queue.py

The shortcut sets (`shortcuts/sets.py`), whose objects are small and lie beside something more salient. A run with a
frozen MobileNetV2, trained without boxes, predicts the training images; a strategy chooses images from nine tenths of
them, other ones per seed. A simulated reviewer draws a box in each, every edge up to a tenth of the side off, 5 % of
the boxes anywhere.

The figure is the mean IoU with the true box, in the test images, of the upright box around the part that a linear score
fitted to these answers alone likes best (`fit_to_answers`): what the answers teach, in a second per cell. `--discover`
measures the rectangles that the whole discovery then finds, in half a minute per cell.

Finished cells are saved in `benchmarks/results/rectangle_queue.jsonl` and skipped; the table is written to
`benchmarks/results/rectangle_queue.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from measuring.surroundings import where
from shortcuts.reviewer import draw_in
from shortcuts.sets import SETS, build

from rsam_app.config import ModelConfig, load_card
from rsam_app.data import load_dataset
from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.paired import half_width
from rsam_app.evaluation.metrics.rectangles import rectangle_ious
from rsam_app.geometry.types import Rectangle
from rsam_app.model import build_model
from rsam_app.run.answers import Answers
from rsam_app.run.folder import RunFolder
from rsam_app.selection import Pool, find_strategy, load_pool
from rsam_app.system.precision import choose_precision
from rsam_app.training.discovery.discover import SIDE, learn_untaught, locate_objects
from rsam_app.training.discovery.held_out import fit_to_answers
from rsam_app.training.discovery.lessons import make_lessons
from rsam_app.training.discovery.objectness import feature_scale
from rsam_app.training.discovery.parts import boxes_around, part_masks
from rsam_app.training.discovery.taught import teach, try_lessons
from rsam_app.training.features.source import FeatureSource

RESULTS = Path(__file__).resolve().parent / "results"
STRATEGIES = ("failure_clusters", "random", "misattention", "least_confidence")
ANSWERS = (5, 10, 20)
POOL_SHARE = 0.9
BACKBONE, SIZE = "mobilenetv2_100", 448
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("RSAM_WEIGHTS")
    weights = Path(folder) / "mobilenetv2_100.safetensors" if folder else None
    parser.add_argument("--weights", type=Path, default=weights, required=not weights, help="MobileNetV2's")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--answers", nargs="+", type=int, default=list(ANSWERS), help="numbers of answers")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--discover", action="store_true", help="measure the whole discovery")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "rsam" / "benchmarks")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    log = arguments.results / "rectangle_queue.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    figure = "iou_discovered" if arguments.discover else "iou_score"
    done = {(row["set"], row["strategy"], row["answers"], row["seed"]) for row in rows if figure in row}
    for name in arguments.sets:
        card = build(name, arguments.cache / f"shortcut-{name}-0", 0)
        queue = Queue(card, arguments.weights, arguments.cache / f"rectangle-queue-{name}")
        cells = [(s, n, i) for i in range(arguments.seeds) for n in arguments.answers for s in arguments.strategies]
        for cell in cells:
            if (name, *cell) not in done:
                rows.append(_run(queue, name, *cell, figure, log))
    text = page(rows)
    (arguments.results / "rectangle_queue.md").write_text(text, encoding="utf-8")
    print(text)


def _run(queue: Queue, name: str, strategy: str, answers: int, seed: int, figure: str, log: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"set": name, "strategy": strategy, "answers": answers, "seed": seed}
    given = queue.answer(strategy, answers, seed)
    iou = queue.discovered_iou(given) if figure == "iou_discovered" else queue.score_iou(given)
    row[figure] = round(iou, 4)
    print(row, flush=True)
    row |= {"environment": where()}
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")
    return row


class Queue:
    """A shortcut set with frozen features, and the training images as a run without answers predicts them."""

    def __init__(self, card: Path, weights: Path, run: Path) -> None:
        self.dataset = load_dataset(load_card(str(card)), 0)
        self.pool: Pool = load_pool(_trained(run, card, weights), "train", embeddings=True)
        model = build_model(ModelConfig(backbone=BACKBONE, weights=str(weights)), self.dataset.classes)
        precision = choose_precision("auto", CPU)
        self.source = FeatureSource(model, self.dataset.class_index, CPU, precision, 1)
        training = self.dataset.split("train")
        self.untaught = learn_untaught(self.source, training, SIZE, 0)
        self.maps, self.test_maps = (self._late(split)[0] for split in ("train", "test"))
        self.lessons = partial(make_lessons, records=training, height=self.maps.shape[2], width=self.maps.shape[3])

    def _late(self, split: str) -> tuple[torch.Tensor, np.ndarray]:
        maps, images = zip(*self.source.late_stages(self.dataset.split(split), SIZE, SIDE), strict=True)
        return torch.cat(maps), np.concatenate(images)

    def answer(self, strategy: str, answers: int, seed: int) -> Answers:
        """A reviewer's answers to what the strategy chooses."""
        draws = np.random.default_rng((seed, 9))
        pool = self.pool.take(np.sort(draws.permutation(len(self.pool))[: round(POOL_SHARE * len(self.pool))]))
        chosen = find_strategy(strategy)(pool, answers, np.random.default_rng(seed)).indices
        records = {r.id: r for r in self.dataset.split("train")}
        return draw_in([records[pool.ids[i]] for i in chosen], draws)

    def score_iou(self, answers: Answers) -> float:
        """Mean IoU, in the test images, of the boxes around the best parts of a score fitted to the answers alone."""
        lessons = self.lessons(answers)
        score = fit_to_answers(self.maps[lessons.rows], lessons, feature_scale(self.maps))
        shifted = score.with_share(self.test_maps, float(lessons.covers.mean()))
        boxes = boxes_around(part_masks(shifted.score(self.test_maps)))
        test = self.dataset.split("test")
        rectangles = {r.id: _rectangle(r) for r in test}
        return float(make_lessons(Answers(rectangles), test, *self.maps.shape[2:]).merits(boxes).mean())

    def discovered_iou(self, answers: Answers) -> float:
        """Mean IoU of the rectangles that discovery finds in the test images after these answers; 0 if it finds
        none."""
        test, lessons = self.dataset.split("test"), self.lessons(answers)
        trial = try_lessons(self.untaught, self.maps, lessons)
        objectness = teach(self.untaught, self.maps, lessons, trial, 0)
        found = locate_objects(objectness, *self._late("test"), test, 0, objectness is not self.untaught)
        located = [(rectangle, record) for rectangle, record in zip(found, test, strict=True) if rectangle]
        ious = rectangle_ious(np.array([rectangle for rectangle, _ in located]), [record for _, record in located])
        return float(ious.sum()) / len(test)


def _rectangle(record: Record) -> Rectangle:
    x, y, width, height = record.boxes[0]
    return Rectangle(x + width / 2, y + height / 2, width, height, 0.0)


def _trained(folder: Path, card: Path, weights: Path) -> RunFolder:
    """A run on the set, trained without answers, with predictions of its training images."""
    run = RunFolder(folder)
    if not (run.predictions / "train.parquet").exists():
        pipeline = folder.with_suffix(".yaml")
        model = {
            "backbone": BACKBONE,
            "weights": str(weights),
            "attention": "rsam",
            "image_size": 224,
            "second_look": False,
        }
        train = {"epochs": 6, "frozen_backbone": True}
        pipeline.write_text(yaml.safe_dump({"dataset": str(card), "seed": 0, "model": model, "train": train}))
        command = [sys.executable, "-m", "rsam_app"]
        subprocess.run([*command, "train", pipeline, "--run", folder], check=True)
        subprocess.run([*command, "predict", folder, "--split", "train"], check=True)
    return run


def page(rows: list[dict[str, Any]]) -> str:
    """A table for each figure that was measured, as Markdown."""
    return "\n".join(table(rows, one) for one in ("iou_score", "iou_discovered") if any(one in row for row in rows))


def table(rows: list[dict[str, Any]], figure: str) -> str:
    """Mean IoU in test images per set, strategy and number of answers, with 95 % intervals over seeds."""
    cells: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for row in rows:
        if figure in row:
            cells[row["set"], row["strategy"], row["answers"]].append(row[figure])
    counts = sorted({answers for _, _, answers in cells})
    lines = [
        f"# Which images to ask about: `{figure}`\n",
        "Mean IoU in test images after so many answers, with 95 % intervals over seeds.\n",
        f"| set | strategy | {' | '.join(map(str, counts))} | n |",
        "|---" * (len(counts) + 3) + "|",
    ]
    for name, strategy in sorted({key[:2] for key in cells}):
        figures = [_figure(cells[name, strategy, answers]) for answers in counts]
        lines.append(f"| {name} | `{strategy}` | {' | '.join(figures)} | {len(cells[name, strategy, counts[0]])} |")
    return "\n".join([*lines, "", *_surroundings(rows)]) + "\n"


def _surroundings(rows: list[dict[str, Any]]) -> list[str]:
    found = [row["environment"] for row in rows if "environment" in row]
    return [f"Measured on {json.dumps(found[-1]['hardware'])}, commit {found[-1].get('commit')}."] if found else []


def _figure(values: list[float]) -> str:
    if len(values) < 2:
        return "".join(f"{value:.3f}" for value in values)
    return f"{np.mean(values):.3f} ± {half_width(np.array(values)):.3f}"


if __name__ == "__main__":
    main()
