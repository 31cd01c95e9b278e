"""What the weight decay of the first classifier and the view of the photograph are worth, on pretrained features.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/first_classifier.py

A classifier is fitted to features of training images, as `rsam train` begins. *Decay*: features of the whole image at
160 pixels, top-1 on validation images, by which the decay was chosen, and on test images; *as they are* is the fit
without scaling the features, as it was before. *View*: the whole image squeezed to a square, as RSAM sees it, or
the centre that timm's transform cuts out, with EfficientNet-Lite0; *and validation images* also learns from these.
Results are written to `results/first_classifier.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.surroundings import where
from torch import Tensor, nn
from torch.utils.data import DataLoader

sys.path.append(str(Path(__file__).resolve().parent / "alternatives"))
from timm_recipe import photographs

from rsam_app.config import ModelConfig, load_card
from rsam_app.data import load_dataset
from rsam_app.data.records import Dataset, Record
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.model import build_model
from rsam_app.system.precision import choose_precision
from rsam_app.training.warm_start import DECAY, fit_classifier, logistic_regression

RESULTS = Path(__file__).resolve().parent / "results" / "first_classifier.json"
CARDS = ("cub_200_2011", "oxford_iiit_pet")
BACKBONES = ("mobilenetv2_100", "tf_efficientnet_lite0", "tf_efficientnet_lite2")
DECAYS = (0.001, 0.01, 0.02, DECAY, 0.1)
BEFORE = 0.001
SIDES = (160, 224)


class Features:
    """Pretrained features of a dataset's images from one network, by view and split."""

    def __init__(self, dataset: Dataset, backbone: str, side: int) -> None:
        model = build_model(ModelConfig(backbone=backbone, attention="none", image_size=side), dataset.classes)
        device = torch.device("cpu")
        self.dataset, self.side = dataset, side
        self.runner = ModelRunner(model, device, choose_precision("auto", device))

    def of(self, view: str, split: str) -> tuple[Tensor, Tensor]:
        """Features `(N, D)` and labels `(N,)` of a split."""
        records = self.dataset.split(split)
        batches = self.runner.whole_images(records) if view == "whole" else self._centres(records)
        labels = torch.tensor([self.dataset.class_index[record.label] for record in records])
        return torch.cat(self.runner.run(batches, self._embed)), labels

    def _centres(self, records: Iterable[Record]) -> DataLoader[Any]:
        return DataLoader(photographs([(str(record.path), 0) for record in records], self.side, False), 64)

    def _embed(self, images: Tensor, batch: object) -> Tensor:
        with self.runner.autocast():
            return self.runner.model.embed(images.contiguous(memory_format=torch.channels_last))[1].float()


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    decay: dict[str, Any] = {}
    view: dict[str, Any] = {}
    for card in CARDS:
        dataset = load_dataset(load_card(card), 0)
        for backbone in BACKBONES:
            decay[f"{card}, {backbone}"] = by_decay(Features(dataset, backbone, SIDES[0]))
            print(card, backbone, decay[f"{card}, {backbone}"], flush=True)
        for side in SIDES:
            view[f"{card}, {side} pixels"] = by_view(Features(dataset, "tf_efficientnet_lite0", side))
            print(card, side, view[f"{card}, {side} pixels"], flush=True)
    means = {
        way: {split: round(float(np.mean([found[way][split] for found in decay.values()])), 4) for split in found[way]}
        for found in list(decay.values())[:1]
        for way in found
    }
    report = {"decay": {**decay, "mean": means}, "view": view, "environment": where()}
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(means, indent=2))


def by_decay(features: Features) -> dict[str, dict[str, float]]:
    """Top-1 on validation and test images for each decay."""
    train, *others = (features.of("whole", split) for split in ("train", "val", "test"))
    classes = len(features.dataset.classes)

    def measured(head: nn.Linear) -> dict[str, float]:
        return {split: top1(head, *other) for split, other in zip(("val", "test"), others, strict=True)}

    found = {f"{value:g}": measured(fitted(train, classes, value)) for value in DECAYS}
    weight, bias, _ = logistic_regression(*train, classes, BEFORE)
    before = nn.Linear(weight.shape[1], classes)
    before.load_state_dict({"weight": weight, "bias": bias})
    return found | {f"{BEFORE:g}, as they are": measured(before)}


def by_view(features: Features) -> dict[str, float]:
    """Top-1 on test images for each view, and with the centre for more training images."""
    classes, found = len(features.dataset.classes), {}
    for view in ("whole", "centre"):
        train, val, test = (features.of(view, split) for split in ("train", "val", "test"))
        both = torch.cat([train[0], val[0]]), torch.cat([train[1], val[1]])
        found[view] = top1(fitted(train, classes), *test)
        found[f"{view}, and validation images"] = top1(fitted(both, classes), *test)
    return found


def fitted(train: tuple[Tensor, Tensor], classes: int, decay: float = DECAY) -> nn.Linear:
    """The first classifier of features `(N, D)` and labels `(N,)`."""
    head = nn.Linear(train[0].shape[1], classes)
    fit_classifier(head, *train, decay)
    return head


def top1(head: nn.Linear, features: Tensor, labels: Tensor) -> float:
    """The share of labels that the classifier gives."""
    with torch.inference_mode():
        return round(float((head(features).argmax(dim=1) == labels).float().mean()), 4)


if __name__ == "__main__":
    main()
