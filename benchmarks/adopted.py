"""Where plain classifiers looked, by the class map that `rsam adopt` makes rectangles of.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/adopted.py

A linear head is fitted to features of a frozen backbone, as somebody without RSAM would have trained it; the product's
`class_map` attention makes a rectangle of the evidence for the predicted class. Beside the product's rectangle there
are those of the evidence above several shares of its maximum, to be chosen from on validation images; the figures to
cite are those of the test images, beside the two baselines: a box of the training boxes' mean extent, and the whole
image. Mean IoU of the upright box around the rectangle with the true box, of the mask where boxes are of a part.
Written to `benchmarks/results/adopted.json`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.surroundings import where
from torch import Tensor

from rsam_app.config import ModelConfig, load_card
from rsam_app.data import load_dataset
from rsam_app.data.records import Dataset, Record
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.metrics.ground_truth import mean_box, truth_kinds
from rsam_app.evaluation.metrics.rectangles import rectangle_ious, score_rectangles
from rsam_app.geometry import rectangles as geometry
from rsam_app.model import AttentiveClassifier, build_model
from rsam_app.model.attention.class_map import ClassMapAttention
from rsam_app.training.warm_start import logistic_regression

RESULTS = Path(__file__).resolve().parent / "results" / "adopted.json"
CARDS = ("cub_200_2011", "oxford_iiit_pet")
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
DECAY = 1e-3
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--cards", nargs="+", default=CARDS)
    arguments = parser.parse_args()
    results = {"backbone": arguments.backbone, "sets": {}, "environment": where()}
    for card in arguments.cards:
        results["sets"][card] = measure(load_dataset(load_card(card), 0), arguments.backbone)
        print(card, json.dumps(results["sets"][card], indent=1), flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def measure(dataset: Dataset, backbone: str) -> dict[str, Any]:
    """Mean IoU by split and threshold, with the baselines and the classifier's top-1 on test images."""
    model = build_model(ModelConfig(backbone=backbone, attention="class_map"), dataset.classes).eval()
    training = dataset.split("train")
    fit_head(model, features_of(model, training)[0], labels_of(dataset, training))
    figures: dict[str, Any] = {"train": len(training)}
    for split in ("val", "test"):
        records = dataset.split(split)
        features, to_image = features_of(model, records)
        ious = {str(t): overlap(model, features, to_image, records, t) for t in THRESHOLDS}
        figures[split] = {"n": len(records), "iou": ious, **baselines(training, records)}
        with torch.no_grad():
            predicted = model.forward_head(features).argmax(dim=1)
        figures[split]["top1"] = round(float((predicted == labels_of(dataset, records)).float().mean()), 4)
    return figures


def features_of(model: AttentiveClassifier, records: Sequence[Record]) -> tuple[Tensor, Tensor]:
    """The last maps `(N, C, H, W)` of whole images, and the affines from network input to image."""
    runner = ModelRunner(model, CPU, workers=1)
    parts = runner.run(
        runner.whole_images(records),
        lambda images, batch: (model.forward_features(images).half(), batch["to_image"].clone()),
    )
    maps, affines = zip(*parts, strict=True)
    return torch.cat(maps).float(), torch.cat(affines)


def labels_of(dataset: Dataset, records: Sequence[Record]) -> Tensor:
    return torch.tensor([dataset.class_index[record.label] for record in records])


def fit_head(model: AttentiveClassifier, features: Tensor, labels: Tensor) -> None:
    """Give the model the classifier that fits the pooled features."""
    with torch.no_grad():
        pooled = model.forward_head(features, pre_logits=True)
    head = model.get_classifier()
    assert isinstance(head, torch.nn.Linear)
    weight, bias, _ = logistic_regression(pooled, labels, head.out_features, DECAY)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def overlap(
    model: AttentiveClassifier, features: Tensor, to_image: Tensor, records: Sequence[Record], threshold: float
) -> float:
    """The mean IoU of the rectangles of the evidence above this share of its maximum; 0 is the product's."""
    side = int(model.pretrained_cfg["input_size"][-1])
    found = []
    with torch.inference_mode():
        for part in features.split(64):
            evidence = model.class_map(part, model.forward_head(part).argmax(dim=1))
            above = evidence - threshold * evidence.amax(dim=(1, 2), keepdim=True).clamp_min(0)
            result = ClassMapAttention()(part, above)
            found.append(geometry.rescale(result.rectangle, result.mask.shape[1:], (side, side)))
    rectangles = geometry.transform(torch.cat(found), to_image)
    return round(float(np.nanmean(rectangle_ious(rectangles.double().numpy(), records))), 4)


def baselines(training: Sequence[Record], records: Sequence[Record]) -> dict[str, float]:
    """The mean IoU of the box of the training boxes' mean extent, and of the whole image."""
    kind = truth_kinds(records)[0]
    anywhere = np.ones((len(records), 5))
    scores = score_rectangles(anywhere, records, kind, mean_box(training, kind))
    return {
        "centre_box": round(float(scores.centre_box_iou.mean()), 4),
        "full_image": round(float(scores.full_image_iou.mean()), 4),
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
