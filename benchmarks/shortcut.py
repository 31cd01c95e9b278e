"""What a reviewer's answers about rectangles bring against a shortcut, beside labels and methods without answers.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/shortcut.py

Three sets are built from photographs below RSAM_DATA and from the demo's beetles: small objects on backgrounds that
give the class away in 95 % of the training images and mislead in 75 % of the test images (`shortcuts/sets.py`). The
product is trained on each as it is used: a frozen backbone at 224 px, all other settings by default, but `EPOCHS`
epochs on `VIEWS` cached views. A simulated reviewer (`shortcuts/reviewer.py`) answers about training images first.
`--sets plain-birds plain-pets` are photographs as they are, without a shortcut: there answers must not harm.

Methods, each with a number of answers where it takes any:

    none, cbam, rsam    no attention, CBAM's spatial half, RSAM
    boxes-N             RSAM, N drawn boxes in the corrections table; surroundings are not exchanged
    exchanged-N         as boxes-N, and surroundings are exchanged if a crop is chosen, as they are by default
    outside-N           as exchanged-N, and the surroundings must not suffice (`train.signals.outside: 0.5`)
    earlier-N           as boxes-N, and the rectangle gates the map of stage `EARLIER` instead of the last one, which
                        cannot be cached; without a crop
    yes-no-N            as exchanged-N, but N rectangles of the untaught discovery are called right or wrong
    asked-again-N       as yes-no-N, in `ROUNDS` rounds: the rectangles are found again after each
    both-N              as exchanged-N, and N other rectangles are called right or wrong
    labels-N            no attention; N photographs on unusual backgrounds more, taken from the test split
    dfr-N               no attention; last layer refitted to training images balanced over the groups, of which N have
                        their group named (Kirichenko et al. 2023, arXiv 2204.02937)
    afr                 no attention; last layer refitted with more weight on what it gets wrong (Qiu et al. 2023,
                        arXiv 2306.11074)
    jtt                 no attention; last layer refitted with the images it gets wrong weighing 20 times as much
                        (Liu et al. 2021, arXiv 2107.09044)
    ceiling             logistic regression on crops along the true boxes, also in the test images

Figures on test images: top-1 on usual and unusual backgrounds, and the mean IoU of the upright box around the rectangle
with the true box. Finished cells are saved in `results/shortcut.jsonl` and skipped; the table is written to
`results/shortcut.md` and the curves to `results/shortcut.png`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from measuring.surroundings import where
from shortcuts.report import draw, table
from shortcuts.retraining import afr, dfr, jtt
from shortcuts.reviewer import SECONDS, draw_boxes, judge
from shortcuts.sets import PLAIN, SETS, build

from rsam_app.config import ModelConfig, load_card
from rsam_app.data import load_dataset
from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Dataset, Record
from rsam_app.data.sampling import ShardedBatches
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.inference.run_model import Outputs, run_model
from rsam_app.evaluation.metrics.rectangles import rectangle_ious
from rsam_app.geometry.types import Rectangle
from rsam_app.model import build_model, load_model
from rsam_app.model.preprocess import normalise
from rsam_app.run.answers import Answers
from rsam_app.run.corrections import Correction, Kind, add_corrections, corrections_path, now, place_text
from rsam_app.run.job import Job
from rsam_app.system.precision import choose_precision
from rsam_app.system.progress import Reporter
from rsam_app.training.loop import train
from rsam_app.training.warm_start import logistic_regression
from rsam_app.workflow.locate import locate

RESULTS = Path(__file__).resolve().parent / "results"
METHODS = ("none", "rsam", "boxes-23", "yes-no-69", "labels-34", "dfr-34", "afr", "ceiling")
EPOCHS, VIEWS = 3, 1
SETTING = f"{EPOCHS} epochs on {VIEWS} augmented view"
ROUNDS = 3
"""Of `asked-again`."""
DECAY = 1e-3
ATTENTION = {"none": "none", "labels": "none", "cbam": "positionwise"}
KINDS = {
    "boxes": "box",
    "exchanged": "box",
    "outside": "box",
    "earlier": "box",
    "yes-no": "yes or no",
    "asked-again": "yes or no",
    "labels": "label",
    "dfr": "label",
}
EARLIER = 2
DRAWN, WITH_EXCHANGE = (
    ("boxes", "exchanged", "outside", "earlier", "both"),
    ("exchanged", "outside", "yes-no", "asked-again", "both"),
)
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=[*SETS, *PLAIN])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "rsam" / "benchmarks")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    log = arguments.results / "shortcut.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    done = {(row["backbone"], row["set"], row["method"], row["seed"]) for row in rows}
    for seed in arguments.seeds:
        for name in arguments.sets:
            cells = Cells(name, arguments.backbone, build(name, arguments.cache / f"shortcut-{name}-0", 0), seed)
            for method in arguments.methods:
                if (arguments.backbone, name, method, seed) not in done and not (method == "ceiling" and seed):
                    row = cells.run(method)
                    print(row, flush=True)
                    rows.append(row)
                    with log.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps({**row, "environment": where()}) + "\n")
    (arguments.results / "shortcut.md").write_text(table(rows, SETTING), encoding="utf-8")
    draw(rows, arguments.results / "shortcut.png")
    print(table(rows, SETTING))


@dataclass
class Cells:
    """All methods on one set with one backbone and seed."""

    name: str
    backbone: str
    card: Path
    seed: int

    def run(self, method: str) -> dict[str, Any]:
        """The figures of a method."""
        kind, _, number = method.rpartition("-") if method[-1].isdigit() else (method, "", "0")
        begun = time.perf_counter()
        figures = self._figures(kind, int(number))
        answered = 8 * int(number) if kind == "both" else SECONDS[KINDS[kind]] * int(number) if kind in KINDS else 0
        row = {"backbone": self.backbone, "set": self.name, "method": method, "seed": self.seed}
        seconds = {"reviewer_seconds": answered, "seconds": round(time.perf_counter() - begun, 1)}
        return row | {k: round(v, 4) for k, v in figures.items()} | seconds

    def _figures(self, kind: str, number: int) -> dict[str, float]:
        training = self.dataset.split("train")
        if kind == "ceiling":
            return self._ceiling()
        if kind in ("dfr", "afr", "jtt"):
            return self._refitted(kind, number)
        answers = Answers()
        if kind in DRAWN:
            answers = draw_boxes(training, number, self.seed)
        if kind in ("yes-no", "both"):
            others = [record for record in training if record.id not in answers.right]
            said = judge(others, self._untaught, number, self.seed)
            answers = Answers({**answers.right, **said.right}, said.wrong)
        if kind == "asked-again":
            answers = self._asked_again(number)
        moved = self._moved(number) if kind == "labels" else frozenset()
        with tempfile.TemporaryDirectory() as folder:
            job = self._train(Path(folder), ATTENTION.get(kind, "rsam"), answers, kind in DRAWN, moved, kind)
            records = [record for record in self.dataset.split("test") if record.id not in moved]
            outputs = _outputs(job, records)
        return self._accuracy(outputs.logits, records) | _overlap(outputs.rectangles, records)

    def _train(
        self,
        folder: Path,
        attention: str,
        answers: Answers,
        drawn: bool,
        moved: frozenset[str] = frozenset(),
        kind: str = "",
    ) -> Job:
        earlier = kind == "earlier"
        look = "auto" if answers.right or answers.wrong else False
        pipeline = {
            "name": "shortcut",
            "dataset": str(self._card_with(moved, folder)),
            "seed": self.seed,
            "model": {"backbone": self.backbone, "attention": attention, "second_look": look}
            | ({"stage": EARLIER} if earlier else {}),
            "train": {
                "frozen_backbone": True,
                "cached_views": 0 if earlier else VIEWS,
                "epochs": EPOCHS,
                "exchange_surroundings": "auto" if kind in WITH_EXCHANGE else 0,
                "signals": {"outside": 0.5 if kind == "outside" else 0},
                "trackers": [],
            },
        }
        path, run = folder / "pipeline.yaml", folder / "runs" / "run"
        path.write_text(yaml.safe_dump(pipeline), encoding="utf-8")
        job = Job.of_pipeline(str(path), [], run, Reporter())
        run.mkdir(parents=True)
        job.create_run()
        _tell(job, answers, drawn)
        train(job, "shortcut", resume=False)
        return job

    def _card_with(self, moved: frozenset[str], folder: Path) -> Path:
        """The set's card, or that of a copy in which some test images are training images."""
        if not moved:
            return self.card
        content = yaml.safe_load(self.card.read_text(encoding="utf-8"))
        manifest = Path(content["root"])
        with manifest.open(newline="", encoding="utf-8") as stream:
            header, *rows = csv.reader(stream)
        rows = [
            [str(manifest.parent / path), label, "train" if path in moved else split, *rest]
            for path, label, split, *rest in rows
        ]
        with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, *rows])
        card = folder / "card.yaml"
        card.write_text(yaml.safe_dump({**content, "root": str(folder / "manifest.csv")}), encoding="utf-8")
        return card

    def _moved(self, number: int) -> frozenset[str]:
        unusual = [r.id for r in self.dataset.split("test") if r.group == "unusual"]
        return frozenset(unusual[i] for i in np.random.default_rng((self.seed, 79)).permutation(len(unusual))[:number])

    @cached_property
    def dataset(self) -> Dataset:
        return load_dataset(load_card(str(self.card)), 0)

    @cached_property
    def _untaught(self) -> dict[str, Rectangle]:
        """The rectangles that are discovered in training images without answers."""
        with tempfile.TemporaryDirectory() as folder:
            return _stored(self._train(Path(folder), "rsam", Answers(), drawn=False))

    def _asked_again(self, number: int) -> Answers:
        """Answers to rectangles of images without one, in rounds; `rsam locate` finds the objects again after each."""
        training, answers = self.dataset.split("train"), Answers()
        with tempfile.TemporaryDirectory() as folder:
            job = self._train(Path(folder), "rsam", answers, drawn=False)
            shown = _stored(job)
            for turn in range(ROUNDS):
                others = [r for r in training if r.id not in answers.right and r.id not in answers.wrong]
                said = judge(others, shown, number // ROUNDS, self.seed + 100 * turn)
                answers = Answers({**answers.right, **said.right}, {**answers.wrong, **said.wrong})
                _tell(job, said, drawn=False)
                shown = locate(job).rectangles if turn < ROUNDS - 1 else shown
        return answers

    @cached_property
    def _whole(self) -> dict[str, np.ndarray]:
        """Embeddings of whole images by split, without attention."""
        with tempfile.TemporaryDirectory() as folder:
            job = self._train(Path(folder), "none", Answers(), drawn=False)
            return {split: _outputs(job, self.dataset.split(split)).embeddings for split in ("train", "test")}

    def _refitted(self, kind: str, number: int) -> dict[str, float]:
        training, test = self.dataset.split("train"), self.dataset.split("test")
        labels, classes = _labels(self.dataset, training), len(self.dataset.classes)
        unusual = np.array([record.group == "unusual" for record in training])
        if kind == "dfr":
            fit = dfr(labels, unusual, number, classes, self.seed)
        else:
            fit = (afr if kind == "afr" else jtt)(labels, classes, self.seed)
        return self._accuracy(fit(self._whole["train"], self._whole["test"]), test)

    def _ceiling(self) -> dict[str, float]:
        crops = {split: self._true_crops(self.dataset.split(split)) for split in ("train", "test")}
        labels = torch.from_numpy(_labels(self.dataset, self.dataset.split("train")))
        weight, bias, _ = logistic_regression(crops["train"], labels, len(self.dataset.classes), DECAY)
        return self._accuracy((crops["test"] @ weight.T + bias).numpy(), self.dataset.split("test"))

    def _true_crops(self, records: Sequence[Record]) -> torch.Tensor:
        config = ModelConfig(backbone=self.backbone, second_look="only")
        model = build_model(config, self.dataset.classes).eval()
        boxes = {r.id: (x + w / 2, y + h / 2, w, h, 0.0) for r in records for x, y, w, h in r.boxes}
        targets = {key: (Rectangle(*values), 1.0) for key, values in boxes.items()}
        views, parts = Views(records, self.dataset.class_index, config.input_side, None, targets), []
        for batch in make_loader(views, ShardedBatches(len(records), 32), 1, False):
            with torch.inference_mode():
                crops = model.crop_features(normalise(batch["image"], model, CPU), batch["target"])
                parts.append(model.forward_head(crops, pre_logits=True))
        return torch.cat(parts)

    def _accuracy(self, logits: np.ndarray, records: Sequence[Record]) -> dict[str, float]:
        right = logits.argmax(axis=1) == _labels(self.dataset, records)
        groups = np.array([record.group for record in records])
        return {group: float(right[groups == group].mean()) for group in ("usual", "unusual") if group in groups}


def _stored(job: Job) -> dict[str, Rectangle]:
    """The rectangles that the run discovered in its training images."""
    stored = json.loads((job.run.path / "discovered.json").read_text(encoding="utf-8"))
    return {key: Rectangle(*values) for key, values in stored.items()}


def _tell(job: Job, answers: Answers, drawn: bool) -> None:
    """Add answers to the run's corrections: drawn boxes, or rectangles called right or wrong."""
    kind: Kind = "rectangle" if drawn else "place"
    said = [(k, kind, json.dumps(list(r)) if drawn else place_text(True, r)) for k, r in answers.right.items()]
    said += [(k, "place", place_text(False, r)) for k, r in answers.wrong.items()]
    if said:
        corrections = [Correction(k, what, "", text, "reviewer", now(), "run") for k, what, text in said]
        add_corrections(corrections_path(job.run.path, job.original.name), corrections)


def _labels(dataset: Dataset, records: Sequence[Record]) -> np.ndarray:
    return np.array([dataset.class_index[record.label] for record in records])


def _outputs(job: Job, records: Sequence[Record]) -> Outputs:
    runner = ModelRunner(load_model(job.run.model), CPU, choose_precision("auto", CPU), 64, 1)
    return run_model(runner, [replace(record, split="test") for record in records])


def _overlap(rectangles: np.ndarray, records: Sequence[Record]) -> dict[str, float]:
    if not np.isfinite(rectangles).all():
        return {}
    return {"iou": float(rectangle_ious(rectangles.astype(np.float64), records).mean())}


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
