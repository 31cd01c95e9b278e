"""Attention under fine-tuning of the whole network: what it brings, and what it costs.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/finetuning.py [--minutes N]

Every method trains with one recipe, `RECIPES`, tuned for `none` on validation images alone: `--tune` prints top-1 of
`none` on the validation split for each learning rate of `RATES`, with seed 100, which no cell uses.

    none            no attention
    none-larger     no attention, on inputs of 1.4 times the side: the cost of a second look
    cbam            CBAM's spatial half
    published       RSAM as in the paper: five numbers regressed from the last map, features times their mask
    rsam            RSAM with one look
    second-look     RSAM with a second look, otherwise the same
    frozen          RSAM with one look and a frozen backbone, three epochs on cached features: what fine-tuning is to
                    be better than

Boxes are never trained on. Figures on test images: top-1 with its calibration error, the worst class's recall, the mean
IoU of the upright box around the rectangle with the true one and the share above .5, top-1 under five corruptions
relative to clean, and seconds per epoch. Finished cells are saved in `results/finetuning.jsonl` and skipped, so that an
interrupted call resumes; the table is written to `results/finetuning.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from measuring.surroundings import where
from torch import Tensor

from rsam_app.data.loader import Batch
from rsam_app.data.records import Dataset, Record
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.inference.run_model import run_model
from rsam_app.evaluation.metrics.accuracy import confusion_matrix, per_class
from rsam_app.evaluation.metrics.calibration import confidences, expected_calibration_error, reliability
from rsam_app.evaluation.metrics.localization import localization
from rsam_app.evaluation.metrics.paired import half_width, paired_difference
from rsam_app.evaluation.robustness.corruptions import corrupt
from rsam_app.evaluation.robustness.subset import load_subset
from rsam_app.evaluation.robustness.view_outputs import predict_views
from rsam_app.model import AttentiveOutput, load_model
from rsam_app.run.job import Job
from rsam_app.system.precision import choose_precision
from rsam_app.system.progress import Reporter
from rsam_app.training.loop import train

RESULTS = Path(__file__).resolve().parent / "results"
METHODS: dict[str, dict[str, Any]] = {
    "none": {"attention": "none"},
    "none-larger": {"attention": "none"},
    "cbam": {"attention": "positionwise"},
    "published": {"attention": "rsam", "predictor": "regression", "gate": "published", "second_look": False},
    "rsam": {"attention": "rsam", "second_look": False},
    "second-look": {"attention": "rsam", "second_look": True},
    "frozen": {"attention": "rsam", "second_look": False},
}
BACKBONES = ("mobilenetv2_100", "tf_efficientnet_lite0")
CARDS = ("cub_200_2011", "oxford_iiit_pet")
SIDE, LARGER = 160, 224
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
"""Validation top-1 of `none` on the birds at 160 pixels: .625, .676, **.706**, below .1 after two epochs (MobileNetV2);
.713 at 1e-3 and .537 at 3e-3 (EfficientNet-Lite0)."""
RECIPES: dict[str, dict[str, Any]] = {
    "mobilenetv2_100": {"epochs": 6, "learning_rate": 1e-3},
    "tf_efficientnet_lite0": {"epochs": 6, "learning_rate": 1e-3},
}
FROZEN = {"frozen_backbone": True, "epochs": 3, "learning_rate": 3e-4}
TUNING_SEED = 100
UNSURE = {"top1_second_look_quarter": 0.25, "top1_second_look_if_unsure": 1 / 3}
"""Shares of the images, the least sure, that get the second view."""
CORRUPTED = ("gaussian_noise", "defocus_blur", "contrast", "jpeg", "haze")
SEVERITY, CORRUPTED_IMAGES = 3, 256
HEADING = (
    "| method | top-1 % | minus none | worst class | calibration error | IoU | ≥ .5 | corrupted / clean | s / epoch |"
    " seeds |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), choices=list(BACKBONES))
    parser.add_argument("--cards", nargs="+", default=list(CARDS), help="names and paths of cards")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--side", type=int, default=SIDE, help="of the input, in pixels")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no cell after so many")
    parser.add_argument("--tune", action="store_true", help="compare learning rates for `none` instead")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    begun = time.monotonic()
    if arguments.tune:
        tune(arguments)
        return
    log = arguments.results / "finetuning.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    for cell in _cells(arguments, rows):
        if time.monotonic() - begun > 60 * arguments.minutes:
            break
        rows.append({**cell, **run_cell(cell, arguments.device), "environment": where()})
        print(json.dumps({key: value for key, value in rows[-1].items() if key != "environment"}), flush=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(rows[-1]) + "\n")
        (arguments.results / "finetuning.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


def _cells(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The cells that are not in `rows`; all methods of a seed one after the other, so that pairs are complete early."""
    keys = ("backbone", "card", "method", "seed", "side")
    done = {tuple(row[key] for key in keys) for row in rows}
    for seed in arguments.seeds:
        for backbone in arguments.backbones:
            for card in arguments.cards:
                for method in arguments.methods:
                    values = (backbone, card, method, seed, arguments.side)
                    if values not in done:
                        yield dict(zip(keys, values, strict=True))


def tune(arguments: argparse.Namespace) -> None:
    """Print the validation top-1 of `none` with each of `RATES`."""
    for backbone in arguments.backbones:
        for card in arguments.cards:
            for rate in RATES:
                cell = {"backbone": backbone, "card": card, "method": "none", "seed": TUNING_SEED}
                cell["side"] = arguments.side
                with tempfile.TemporaryDirectory() as folder:
                    _, log = _trained(cell, Path(folder), {"learning_rate": rate})
                best = max(line["val_top1"] for line in log)
                print(f"{backbone}, {card}, learning rate {rate:g}: validation top-1 {best:.3f}", flush=True)


def run_cell(cell: dict[str, Any], device: str) -> dict[str, Any]:
    """Train and measure one cell."""
    with tempfile.TemporaryDirectory() as folder:
        job, log = _trained(cell, Path(folder), {})
        on = torch.device(device)
        runner = ModelRunner(load_model(job.run.model).to(on), on, choose_precision("auto", on), 64, 1)
        figures = measure(runner, job)
    seconds = float(np.median([line["seconds"] for line in log]))
    return {key: round(value, 4) for key, value in figures.items()} | {"epoch_seconds": round(seconds, 1)}


def _trained(cell: dict[str, Any], folder: Path, changed: dict[str, Any]) -> tuple[Job, list[dict[str, Any]]]:
    """The job of a cell after training, and its epochs' log."""
    side = round(cell["side"] * LARGER / SIDE / 32) * 32 if cell["method"] == "none-larger" else cell["side"]
    frozen = FROZEN if cell["method"] == "frozen" else {}
    pipeline = {
        "name": "finetuning",
        "dataset": cell["card"],
        "seed": cell["seed"],
        "model": {"backbone": cell["backbone"], "image_size": side, **METHODS[cell["method"]]},
        "train": {**RECIPES[cell["backbone"]], **changed, **frozen, "trackers": []},
    }
    path, run = folder / "pipeline.yaml", folder / "runs" / "run"
    path.write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    job = Job.of_pipeline(str(path), [], run, Reporter())
    run.mkdir(parents=True)
    job.create_run()
    train(job, "finetuning", resume=False)
    return job, [json.loads(line) for line in job.run.metrics_log.read_text(encoding="utf-8").splitlines()]


def measure(runner: ModelRunner, job: Job) -> dict[str, float]:
    """The figures of a trained model on the test images."""
    dataset = job.original
    records = list(dataset.split("test"))
    outputs = run_model(runner, records)
    labels = np.array([dataset.class_index[record.label] for record in records])
    predicted = outputs.logits.argmax(axis=1)
    recall = per_class(confusion_matrix(predicted, labels, len(dataset.classes)))[2]
    curve = reliability(confidences(outputs.logits), (predicted == labels).astype(np.int64))
    figures = {
        "top1": float((predicted == labels).mean()),
        "worst_class": float(np.nanmin(recall)),
        "calibration_error": expected_calibration_error(curve),
        "corrupted": _corrupted(runner, dataset),
    }
    if np.isfinite(outputs.rectangles).all():
        located = localization(outputs.rectangles.astype(np.float64), records, dataset.split("train"))
        figures |= {"iou": located["mean_iou"], "share_above_half": located["share_iou_50"]}
    return figures | (_by_look(runner, records, labels) if runner.model.second_look else {})


def _by_look(runner: ModelRunner, records: list[Record], labels: np.ndarray) -> dict[str, float]:
    """Top-1 of a second look's first view alone, and with the second view for the `UNSURE` shares of the images that
    the first one is least sure of."""

    def logits(images: Tensor, batch: Batch) -> Tensor:
        with runner.autocast():
            output: AttentiveOutput = runner.model(images, return_output=True)
        return output.view_logits.float()

    parts = runner.run(runner.whole_images(records), logits)
    first, second = torch.cat(parts, dim=1)
    sure = first.softmax(dim=1).amax(dim=1)
    right = torch.from_numpy(labels)

    def top1(share: float) -> float:
        unsure = sure <= sure.quantile(share) if share else torch.zeros_like(sure, dtype=torch.bool)
        mixed = torch.where(unsure[:, None], (first + second) / 2, first)
        return float((mixed.argmax(dim=1) == right).float().mean())

    return {"top1_first_look": top1(0.0)} | {key: top1(share) for key, share in UNSURE.items()}


def _corrupted(runner: ModelRunner, dataset: Dataset) -> float:
    """Top-1 on corrupted images relative to the same images as they are."""
    subset = load_subset(dataset.split("test"), dataset.class_index, runner.side, CORRUPTED_IMAGES)

    def top1(name: str | None) -> float:
        def view(rows: slice) -> Tensor:
            pairs = zip(subset.images[rows], subset.records[rows], strict=True)
            return runner.normalise(np.stack([corrupt(i, name, SEVERITY, 0, r.id) if name else i for i, r in pairs]))

        return predict_views(runner, len(subset), view).accuracy(subset.labels)

    return float(np.mean([top1(name) for name in CORRUPTED])) / top1(None)


def table(rows: list[dict[str, Any]]) -> str:
    """Means with 95 % intervals over seeds, and paired differences of top-1 to `none`, as Markdown."""
    cells: dict[tuple[str, str, int, str], dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        cells[row["backbone"], row["card"], row["side"], row["method"]][row["seed"]] = row
    lines = [
        "# Attention under fine-tuning of the whole network\n",
        "Mean ± half a 95 % interval over seeds; differences are paired by seed, in points of top-1.",
    ]
    order, part = list(METHODS), None
    for (backbone, card, side, method), found in sorted(cells.items(), key=lambda c: (*c[0][:3], order.index(c[0][3]))):
        if part != (backbone, card, side):
            part = (backbone, card, side)
            lines += [f"\n## {backbone}, {Path(card).stem}, {side} pixels\n", HEADING, "|---" * 10 + "|"]
        top1 = {seed: 100 * row["top1"] for seed, row in found.items()}
        plain = {seed: 100 * row["top1"] for seed, row in cells[backbone, card, side, "none"].items()}
        more = paired_difference(top1, plain) if method != "none" else None
        keys = ("worst_class", "calibration_error", "iou", "share_above_half", "corrupted")
        figures = [_figure([row[key] for row in found.values() if key in row]) for key in keys]
        difference = f"{more.mean:+.1f} ± {more.high - more.mean:.1f} (p = {more.p:.1g})" if more else "–"
        seconds = f"{np.median([row['epoch_seconds'] for row in found.values()]):.0f}"
        columns = [method, _figure(list(top1.values()), 1), difference, *figures, seconds, len(found)]
        lines.append(f"| {' | '.join(map(str, columns))} |")
    return "\n".join(lines) + "\n\n" + _pooled(rows) + _looks(rows)


def _pooled(rows: list[dict[str, Any]]) -> str:
    """Differences of top-1 over all backbones, sets and seeds."""
    top1: dict[str, dict[Any, float]] = defaultdict(dict)
    for row in rows:
        top1[row["method"]][row["backbone"], row["card"], row["side"], row["seed"]] = 100 * row["top1"]
    lines = [
        "## Pooled\n",
        "Over backbones, data and seeds, points of top-1:\n",
        "| minus | none | cbam | pairs |",
        "|---" * 4 + "|",
    ]
    for method in METHODS:
        found = [paired_difference(top1[method], top1[o]) if method != o else None for o in ("none", "cbam")]
        if method != "none" and found[0]:
            told = [f"{one.mean:+.2f} ± {one.high - one.mean:.2f} (p = {one.p:.2g})" if one else "–" for one in found]
            lines.append(f"| {method} | {' | '.join(told)} | {found[0].n} |")
    return "\n".join(lines) + "\n"


def _looks(rows: list[dict[str, Any]]) -> str:
    """Top-1 of models with a second look by how many images get it."""
    keys = ("top1_first_look", *UNSURE, "top1")
    cells: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if "top1_first_look" in row:
            cells[row["backbone"], row["card"], row["side"]].append(row)
    lines = [
        "\n## By the number of looks\n",
        "Top-1 % of networks trained with a second look, by the images that get it when classified:\n",
        "| backbone | data | side | none | the quarter least sure | the third least sure | all | seeds |",
        "|---" * 8 + "|",
    ]
    for (backbone, card, side), found in sorted(cells.items()):
        figures = [_figure([100 * row[key] for row in found if key in row], 1) for key in keys]
        lines.append(f"| {backbone} | {Path(card).stem} | {side} | {' | '.join(figures)} | {len(found)} |")
    return "\n".join(lines) + "\n" if cells else ""


def _figure(values: list[float], digits: int = 3) -> str:
    if not values:
        return "–"
    spread = f" ± {half_width(np.array(values)):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
