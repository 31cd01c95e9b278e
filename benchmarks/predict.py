"""How fast `rsam predict RUN PATH…` is, beside what it cannot be faster than.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/predict.py [--images 832]

First answer: the seconds of the command for one photograph, beside importing timm and torchvision, each as a process of
its own, in turns. Whole process: photographs a second of the command, imports included, beside those of
`alternatives/plain_predictions.py`, which runs timm's model as its documentation shows it, in turns. Throughput:
photographs a second of `stream`, which decodes them, beside the same network on a batch that is in memory already, in
turns too. Looks: the seconds of `stream` with each number of looks relative to one, so without the start. The network
is a MobileNetV2 with RSAM at 224 px; the photographs are those of CUB-200-2011. Results are written to
`results/predict.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measuring.surroundings import where

from rsam_app.config import ModelConfig
from rsam_app.data.records import Skipped
from rsam_app.evaluation.inference.model_runner import all_cores
from rsam_app.evaluation.inference.trained_model import TrainedModel, load
from rsam_app.model import AttentiveClassifier, build_model, save_model
from rsam_app.system.allocator import retain_freed_memory
from rsam_app.system.precision import autocast

BACKBONE = "mobilenetv2_100"
LOOKS = {"one look": False, "two looks": True, "a second look if unsure": "unsure"}
PLAIN = Path(__file__).parent / "alternatives" / "plain_predictions.py"
RESULTS = Path(__file__).parent / "results" / "predict.json"
TURNS = 5
WHOLE_TURNS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=832)
    images = parser.parse_args().images
    retain_freed_memory()  # like every command
    photographs = sorted(Path(os.environ["RSAM_DATA"]).rglob("CUB_200_2011/images/*/*.jpg"))[:images]
    classes = tuple(f"class {number}" for number in range(50))
    with tempfile.TemporaryDirectory() as folder:
        for name, look in LOOKS.items():
            network = build_model(ModelConfig(backbone=BACKBONE, second_look=look), classes)
            if look == "unsure":
                network.pretrained_cfg["second_look_below"] = unsure_third(network, photographs)
            save_model(network, Path(folder) / name)
        models = {name: Path(folder) / name for name in LOOKS}
        first = first_answer(models["one look"], photographs[0])
        whole = whole_process(models, photographs)
        loaded = {name: load(model, "cpu") for name, model in models.items()}
    result = {
        **first,
        "whole_process": whole,
        **throughput(loaded["one look"], photographs),
        "seconds_to_one_look": cost_of_looks(loaded, photographs),
        "environment": where(),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key != "environment"}, indent=2))


def first_answer(model: Path, photograph: Path) -> dict[str, float]:
    """Seconds of the command, and of the imports that it cannot do without: medians, and their ratio."""
    importing = [sys.executable, "-c", "import timm, torchvision"]
    command = [sys.executable, "-m", "rsam_app", "predict", str(model), str(photograph)]
    times: dict[str, list[float]] = {"import": [], "command": []}
    for _ in range(TURNS):
        for name, arguments in (("import", importing), ("command", command)):
            begun = time.perf_counter()
            subprocess.run(arguments, check=True, capture_output=True)
            times[name].append(time.perf_counter() - begun)
    imported, answered = (statistics.median(times[name]) for name in ("import", "command"))
    return {"import_s": imported, "first_answer_s": answered, "first_answer_to_import": answered / imported}


def unsure_third(network: AttentiveClassifier, photographs: list[Path]) -> float:
    """The confidence in the whole image that a third of the photographs stay below."""
    network.second_look = False
    answers = TrainedModel(network, torch.device("cpu")).predict(photographs[::10])
    network.second_look = "unsure"
    return statistics.quantiles((answer.confidence for answer in answers), n=3)[0]


def whole_process(models: dict[str, Path], photographs: list[Path]) -> dict[str, Any]:
    """Photographs a second of the plain process and of each model's command, medians, and their ratios."""
    paths = [str(path) for path in photographs]
    commands = {"plain": [sys.executable, str(PLAIN), BACKBONE]}
    commands |= {name: [sys.executable, "-m", "rsam_app", "predict", str(m), "-"] for name, m in models.items()}
    rates: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(WHOLE_TURNS):
        for name, command in commands.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, text=True, input="\n".join(paths))
            rates[name].append(len(paths) / (time.perf_counter() - begun))
    found = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {name: found[name] / found["plain"] for name in models}
    return {"photographs": len(paths), "images_per_s": found, "ratio_to_plain": ratios}


def throughput(model: TrainedModel, photographs: list[Path]) -> dict[str, float]:
    """Photographs a second of `stream` and of a resident batch: medians over turns, and their ratio."""
    batch = torch.rand(model.batch_size, 3, model.side, model.side).contiguous(memory_format=torch.channels_last)
    part = max(model.batch_size, len(photographs) // TURNS)
    rates: dict[str, list[float]] = {"stream": [], "resident": []}
    resident(model, batch, model.batch_size)
    for turn in range(TURNS):
        chosen = photographs[turn * part : (turn + 1) * part]
        if not chosen:
            break
        begun = time.perf_counter()
        broken = sum(isinstance(answer, Skipped) for answer in model.stream(chosen))
        rates["stream"].append((len(chosen) - broken) / (time.perf_counter() - begun))
        rates["resident"].append(resident(model, batch, len(chosen)))
    streamed, held = (statistics.median(rates[name]) for name in ("stream", "resident"))
    return {"stream_images_per_s": streamed, "resident_images_per_s": held, "stream_to_resident": streamed / held}


def cost_of_looks(models: dict[str, TrainedModel], photographs: list[Path]) -> dict[str, float]:
    """Seconds of `stream` on all photographs with each model relative to one look: medians over turns."""
    ratios: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(1 + TURNS):
        seconds = {}
        for name, model in models.items():
            begun = time.perf_counter()
            for _ in model.stream(photographs):
                pass
            seconds[name] = time.perf_counter() - begun
        if turn:  # the first one warms up
            for name in models:
                ratios[name].append(seconds[name] / seconds["one look"])
    return {name: statistics.median(values) for name, values in ratios.items()}


def resident(model: TrainedModel, batch: torch.Tensor, images: int) -> float:
    """Images a second of the network on one batch in memory."""
    begun = time.perf_counter()
    batches = -(-images // len(batch))
    for _ in range(batches):
        with torch.inference_mode(), all_cores(), autocast(model.precision, model.device):
            model.network.embed(batch)
    return batches * len(batch) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
