"""Compare crop sizes for the second look of a frozen backbone.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/second_look_crop.py [--seed 0]

Rectangles are fitted to discovered objects as `rsam train` begins, without boxes, at 160 pixels. Then a classifier is
fitted to the whole training images and to their crops along the predicted rectangles, and answers by the mean of both.
A crop's context scales the box around the rectangle that the crop must hold. Top-1 on
validation images, by which the context was chosen, and on test images. Cells that are in
`results/second_look_crop.json` are skipped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from first_classifier import BACKBONES, CARDS, fitted
from measuring.surroundings import where
from torch import Tensor, nn

from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import ShardedBatches
from rsam_app.evaluation.inference.model_runner import all_cores
from rsam_app.model import AttentiveClassifier
from rsam_app.model.preprocess import normalise
from rsam_app.run.job import Job
from rsam_app.system.precision import autocast
from rsam_app.system.progress import Reporter
from rsam_app.training.features.source import FeatureSource
from rsam_app.training.setup import begin, feature_source, set_up

RESULTS = Path(__file__).resolve().parent / "results" / "second_look_crop.json"
SIDE = 160
CONTEXTS = (0.7, 0.8, 0.9, 1.0, 1.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", nargs="+", default=list(CARDS))
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    report: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"cells": {}}
    for card in arguments.cards:
        for backbone in arguments.backbones:
            name = f"{card}, {backbone}, seed {arguments.seed}"
            if name in report["cells"]:
                continue
            report["cells"][name] = by_context(card, backbone, arguments.seed)
            print(name, json.dumps(report["cells"][name]), flush=True)
            report |= {"mean": means(report["cells"]), "environment": where()}
            RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report["mean"], indent=2))


def by_context(card: str, backbone: str, seed: int) -> dict[str, dict[str, float]]:
    """Top-1 on validation and test images of the whole image, and of its mean with the crop of each context."""
    with tempfile.TemporaryDirectory() as folder:
        source, job = _with_rectangle(card, backbone, seed, Path(folder))
        dataset = job.original
        records = {split: dataset.split(split) for split in ("train", "val", "test")}
        labels = {k: torch.tensor([dataset.class_index[r.label] for r in v]) for k, v in records.items()}
        views = {split: _embeddings(source, of_split) for split, of_split in records.items()}

    def top1(contexts: list[float | None]) -> dict[str, float]:
        rows = torch.cat([views["train"][context] for context in contexts])
        head = fitted((rows, labels["train"].repeat(len(contexts))), len(dataset.classes))
        return {split: _accuracy(head, [views[split][c] for c in contexts], labels[split]) for split in ("val", "test")}

    return {"whole image": top1([None])} | {f"context {c:g}": top1([None, c]) for c in CONTEXTS}


def _with_rectangle(card: str, backbone: str, seed: int, folder: Path) -> tuple[FeatureSource, Job]:
    """A source whose model finds the objects of a dataset, as training begins."""
    pipeline = {
        "name": "crop",
        "dataset": card,
        "seed": seed,
        "model": {"backbone": backbone, "image_size": SIDE, "second_look": True},
        "train": {"frozen_backbone": True, "cached_views": 0, "trackers": []},
    }
    path, run = folder / "pipeline.yaml", folder / "runs" / "run"
    path.write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    job = Job.of_pipeline(str(path), [], run, Reporter())
    run.mkdir(parents=True)
    job.create_run()
    return feature_source(job, set_up(job, "", True, *begin(job, fresh=True)).bare), job


def _embeddings(source: FeatureSource, records: tuple[Record, ...]) -> dict[float | None, Tensor]:
    """Embeddings `(N, D)` of whole images, under None, and of their crops by context."""
    model, parts = source.model.eval(), []
    views = Views(records, source.class_index, SIDE * model.detail)
    for batch in make_loader(views, ShardedBatches(len(records), 32), source.workers, False):
        images = normalise(batch["image"], model, source.device)
        with torch.inference_mode(), all_cores(), autocast(source.precision, source.device):
            parts.append(_embed(model, images))
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def _embed(model: AttentiveClassifier, images: Tensor) -> dict[float | None, Tensor]:
    result = model.forward_attention(model.shrink(images))[1]
    rectangle = model.to_input(result, images.shape[2:])
    assert result is not None and rectangle is not None
    found: dict[float | None, Tensor] = {None: model.forward_head(result.features, pre_logits=True).float()}
    for context in CONTEXTS:
        model.crop_context = context
        found[context] = model.forward_head(model.crop_features(images, rectangle), pre_logits=True).float()
    return found


def _accuracy(head: nn.Linear, views: list[Tensor], labels: Tensor) -> float:
    with torch.inference_mode():
        logits = torch.stack([head(view) for view in views]).mean(dim=0)
    return round(float((logits.argmax(dim=1) == labels).float().mean()), 4)


def means(cells: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean over the cells of each context's figures."""
    return {
        view: {split: round(float(np.mean([cell[view][split] for cell in cells.values()])), 4) for split in figures}
        for view, figures in next(iter(cells.values())).items()
    }


if __name__ == "__main__":
    main()
