"""Cost of attention: parameters, and inference and training time relative to the plain model.

    python benchmarks/attention_cost.py [--backbone mobilenetv2_100] [--device cuda]

Variants alternate in each round, so that noise of the machine affects all of them; a ratio is the median over rounds of
a variant's time divided by the plain model's in the same round. Written to `benchmarks/results/attention_cost.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.surroundings import where
from measuring.turns import ratio, take_turns

from rsam_app.config import ModelConfig
from rsam_app.model import AttentiveClassifier, build_model
from rsam_app.system.allocator import retain_freed_memory
from rsam_app.system.precision import autocast, choose_precision
from rsam_app.training import losses

RESULTS = Path(__file__).resolve().parent / "results" / "attention_cost.json"
VARIANTS: dict[str, dict[str, Any]] = {
    "none": {"attention": "none"},
    "position-wise (CBAM)": {"attention": "positionwise"},
    "RSAM": {"attention": "rsam"},
    "RSAM, moments": {"attention": "rsam", "predictor": "moments"},
    "RSAM, second look": {"attention": "rsam", "second_look": True},
}
TWO_LOOKS, FIRST_ALONE = "RSAM, second look", "RSAM, second look left out"
"""The same model with `second_look` on and off: the cost of the second look itself."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    retain_freed_memory()  # like every command
    device = torch.device(arguments.device)
    precision = choose_precision("auto", device)
    models = {name: _model(arguments.backbone, settings, device) for name, settings in VARIANTS.items()}
    models[FIRST_ALONE] = _model(arguments.backbone, VARIANTS[TWO_LOOKS], device)
    models[FIRST_ALONE].second_look = False
    plain = sum(p.numel() for p in models["none"].backbone.parameters())
    report: dict[str, Any] = {"backbone": arguments.backbone, "batch": arguments.batch, "precision": precision}
    report["environment"] = where()
    for name, measure in {"inference": _infer, "training": _train_step}.items():
        rounds = arguments.rounds * (4 if name == "inference" else 1)  # shorter, so noisier
        seconds = take_turns(_ways(models, measure, arguments.batch, device, precision), rounds)
        report[name] = {key: ratio(taken, seconds["none"]) for key, taken in seconds.items()}
        report[name]["none"]["seconds"] = float(np.median(seconds["none"]))
        report[name]["two looks by the first alone"] = ratio(seconds[TWO_LOOKS], seconds[FIRST_ALONE])
    report["parameters"] = {
        key: {"attention": count, "share_of_backbone": count / plain}
        for key, model in models.items()
        if (count := sum(p.numel() for p in model.attention.parameters()) if model.attention else 0)
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def _model(backbone: str, settings: dict[str, Any], device: torch.device) -> AttentiveClassifier:
    torch.manual_seed(0)
    config = ModelConfig(backbone=backbone, weights="none", **settings)
    model = build_model(config, tuple(f"class {i}" for i in range(50)))
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _ways(
    models: dict[str, AttentiveClassifier],
    measure: Callable[[AttentiveClassifier, torch.Tensor, str], None],
    batch: int,
    device: torch.device,
    precision: str,
) -> dict[str, Callable[[], None]]:
    def way(model: AttentiveClassifier) -> Callable[[], None]:
        side = model.pretrained_cfg["input_size"][-1]
        images = torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)

        def run() -> None:
            measure(model, images, precision)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    return {name: way(model) for name, model in models.items()}


def _infer(model: AttentiveClassifier, images: torch.Tensor, precision: str) -> None:
    model.eval()
    with torch.inference_mode(), autocast(precision, images.device):
        model(images, return_output=True)


def _train_step(model: AttentiveClassifier, images: torch.Tensor, precision: str) -> None:
    model.train()
    with autocast(precision, images.device):
        output = model(images, return_output=True)
    labels = torch.arange(len(images), device=images.device) % model.num_classes
    loss = torch.stack([losses.classification(one, labels, 0.1) for one in output.view_logits]).mean()
    if output.rectangle is not None:
        side = images.shape[3]
        target = torch.tensor([[side / 2, side / 2, side / 2, side / 3, 0.1]], device=images.device)
        loss = loss + losses.to_target(output.rectangle, target.expand(len(images), 5), side).mean()
    loss.backward()
    model.zero_grad()


if __name__ == "__main__":
    main()
