"""Time of discovering objects without boxes as the number of images grows, and how well the rectangles overlap them.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/discovery.py [--backbone mobilenetv2_100] [--side 224]

Photographs of birds in random order and a pretrained network, without a cache. Discovery runs at twice `--side`. The
growth is the exponent between the last two sizes: 1 is linear. IoU compares upright boxes with the true ones, over the
images in which an object is found. Results: `benchmarks/results/discovery.json`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.growth import growth
from measuring.surroundings import where

from rsam_app.config import ModelConfig, load_card
from rsam_app.data import load_dataset
from rsam_app.data.loader import loading_processes
from rsam_app.evaluation.metrics.localization import localization
from rsam_app.model import build_model
from rsam_app.system.allocator import retain_freed_memory
from rsam_app.system.precision import choose_precision
from rsam_app.training.discovery.discover import discover_rectangles
from rsam_app.training.features.source import FeatureSource

RESULTS = Path(__file__).resolve().parent / "results" / "discovery.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", type=int, default=[1500, 2889])
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--side", type=int, default=224, help="of the input, in pixels")
    arguments = parser.parse_args()
    retain_freed_memory()  # as `rsam train` does
    dataset, device = load_dataset(load_card("cub_200_2011"), 0), torch.device("cpu")
    model = build_model(ModelConfig(backbone=arguments.backbone, image_size=arguments.side), dataset.classes)
    model.to(memory_format=torch.channels_last)
    workers = loading_processes("auto", 1)
    source = FeatureSource(model, dataset.class_index, device, choose_precision("auto", device), workers)
    shuffled = [dataset.records[i] for i in np.random.default_rng(0).permutation(len(dataset.records))]
    report: dict[str, Any] = {"backbone": arguments.backbone, "side": arguments.side, "images": {}}
    for images in arguments.images:
        records = shuffled[:images]
        begun = time.perf_counter()
        found = discover_rectangles(source, records, 2 * arguments.side, 0).rectangles
        seconds = round(time.perf_counter() - begun, 1)
        boxed = [record for record in records if record.id in found]
        located = localization(np.array([found[record.id] for record in boxed]), boxed, records)
        figures = {"seconds": seconds, "found": len(found), "iou": round(located["mean_iou"], 3)}
        report["images"][str(images)] = figures
        print(images, json.dumps(figures), flush=True)
    if len(arguments.images) > 1:
        fewer, more = arguments.images[-2:]
        seconds_of_fewer, seconds_of_more = (report["images"][str(n)]["seconds"] for n in (fewer, more))
        report["growth"] = growth(fewer, seconds_of_fewer, more, seconds_of_more)
    RESULTS.write_text(json.dumps(report | {"environment": where()}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
