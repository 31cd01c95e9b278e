"""Speed-up of the defaults over a plain timm model: precision and memory format chosen for the hardware.

    python benchmarks/fast_path.py [--run RUN …] [--backbones mobilenetv2_100 …]

*Plain* is timm's model as usually run: eager float32, channels first. *Ours* is the setting of `rsam`: channels last,
the precision of `train.precision=auto`, slow depthwise convolutions trained in float32, batch norms folded for
inference, freed memory retained, here without attention (see `attention_cost.py`). All alternate on one batch of random
images. With runs, it also compares the accuracy of their models on their test images: in float32 as trained, and as
`rsam` predicts. Written to `benchmarks/results/fast_path.json`.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from measuring.surroundings import where
from measuring.turns import ratio, take_turns
from torch import Tensor, nn
from torch.nn import functional as F

from rsam_app.config import ModelConfig, load_card
from rsam_app.data import load_dataset
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.inference.run_model import run_model
from rsam_app.model import AttentiveClassifier, build_model, load_model
from rsam_app.model.fold_batch_norms import fold_batch_norms
from rsam_app.run.folder import RunFolder
from rsam_app.system.allocator import release_freed_memory, retain_freed_memory
from rsam_app.system.precision import autocast, choose_precision
from rsam_app.training.depthwise import train_slow_depthwise_in_float32

RESULTS = Path(__file__).resolve().parent / "results" / "fast_path.json"
CLASSES, SIDE = 50, 224
BACKBONES = ("mobilenetv2_100", "tf_efficientnet_lite0", "resnet18", "resnet50", "convnext_tiny")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--run", nargs="*", type=Path, default=[], help="run folders whose accuracy is compared")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    report: dict[str, Any] = {"batch": arguments.batch, "precision": choose_precision("auto", device)}
    report["environment"] = where()
    for backbone in arguments.backbones:
        report[backbone] = _speed(backbone, device, arguments.batch, arguments.rounds)
        print(backbone, json.dumps(report[backbone], indent=2), flush=True)
    report["accuracy"] = {RunFolder(run).key: _accuracy(RunFolder(run), device) for run in arguments.run}
    print(json.dumps(report["accuracy"], indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _speed(backbone: str, device: torch.device, batch: int, rounds: int) -> dict[str, Any]:
    """Time of plain divided by ours (higher is better), and images per second."""
    plain = timm.create_model(backbone, num_classes=CLASSES).to(device)
    settings = ModelConfig(backbone=backbone, weights="none", attention="none", image_size=SIDE)
    ours = build_model(settings, tuple(map(str, range(CLASSES))))
    ours.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    folded, trained, chosen = fold_batch_norms(ours), copy.deepcopy(ours), choose_precision("auto", device)
    if chosen == "bfloat16":
        train_slow_depthwise_in_float32(trained)
    images, report = torch.randn(batch, 3, SIDE, SIDE, device=device), {}
    last = images.contiguous(memory_format=torch.channels_last)
    for name, step, quick in (("inference", _infer, folded), ("training", _train, trained)):
        ways = {
            "plain": _way(step, plain, images, "float32"),
            "channels_last": _way(step, ours, last, "float32"),
            f"channels_last, {chosen}": _way(step, ours, last, chosen),
            "ours": _way(step, quick, last, chosen, retain_freed_memory),
        }
        seconds = take_turns(ways, rounds)
        report[name] = {key: ratio(seconds["plain"], taken) for key, taken in seconds.items()}
        for key, taken in seconds.items():
            report[name][key]["images_per_second"] = batch / float(np.median(taken))
    return report


def _way(
    step: Callable[[nn.Module, Tensor, str], None],
    model: nn.Module,
    images: Tensor,
    precision: str,
    memory: Callable[[], bool] = release_freed_memory,
) -> Callable[[], None]:
    def run() -> None:
        memory()
        step(model, images, precision)
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)

    return run


def _infer(model: nn.Module, images: Tensor, precision: str) -> None:
    model.eval()
    with torch.inference_mode(), autocast(precision, images.device):
        model(images)


def _train(model: nn.Module, images: Tensor, precision: str) -> None:
    model.train()
    labels = torch.arange(len(images), device=images.device) % CLASSES
    with autocast(precision, images.device):
        logits = model(images)
    F.cross_entropy(logits.float(), labels).backward()
    model.zero_grad()


def _accuracy(run: RunFolder, device: torch.device) -> dict[str, Any]:
    """Top-1 of a run's model on its test images in float32 and as `rsam` predicts, and their agreement."""
    pipeline = run.load_pipeline()
    dataset = load_dataset(load_card(pipeline.dataset), pipeline.seed)
    records, trained = dataset.split("test"), load_model(run.model)
    labels = np.array([dataset.class_index[record.label] for record in records])

    def predicted(model: AttentiveClassifier, precision: str) -> np.ndarray:
        runner = ModelRunner(model.to(device), device, precision, pipeline.evaluate.batch_size, "auto")
        return np.asarray(run_model(runner, records).logits.argmax(axis=1))

    exact = predicted(trained, "float32")
    chosen = predicted(fold_batch_norms(trained), choose_precision("auto", device))
    top1 = {"top1_float32": float((exact == labels).mean()), "top1_chosen": float((chosen == labels).mean())}
    return {"n": len(records), **top1, "same_prediction": float((exact == chosen).mean())}


if __name__ == "__main__":
    main()
