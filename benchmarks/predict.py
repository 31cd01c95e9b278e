"""How fast `rsam predict RUN PATH…` is, beside what it cannot be faster than.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/predict.py [--images 1000]

First answer: the seconds of the command for one photograph, beside importing timm and torchvision, each as a process of
its own, in turns. Throughput: photographs a second of `stream`, which decodes them, beside the same network on a batch
that is in memory already, in turns too. The network is a MobileNetV2 with RSAM at 224 px, the photographs those of
CUB-200-2011. Results are written to `results/predict.json`.
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

import torch
from measuring.surroundings import where

from rsam_app.config import ModelConfig
from rsam_app.data.records import Skipped
from rsam_app.evaluation.inference.model_runner import all_cores
from rsam_app.evaluation.inference.trained_model import TrainedModel
from rsam_app.model import build_model, save_model
from rsam_app.system.precision import autocast

RESULTS = Path(__file__).parent / "results" / "predict.json"
TURNS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    photographs = sorted(Path(os.environ["RSAM_DATA"]).rglob("CUB_200_2011/images/*/*.jpg"))
    photographs = photographs[: parser.parse_args().images]
    classes = tuple(f"class {number}" for number in range(50))
    model = TrainedModel(build_model(ModelConfig(backbone="mobilenetv2_100"), classes), torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        save_model(model.network, Path(folder) / "model")
        first = first_answer(Path(folder) / "model", photographs[0])
    result = {**first, **throughput(model, photographs), "environment": where()}
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
