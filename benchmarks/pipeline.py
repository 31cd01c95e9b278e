"""Cost of an epoch besides its arithmetic: reading images, checkpoints, memory.

    RSAM_DATA=data python benchmarks/pipeline.py [PIPELINE] [--images 640] [--rounds 4]

A real epoch (the pipeline's loader, augmentation, loss and optimizer, on photographs) alternates with the same number
of steps on one batch in memory. Their ratio is the cost of reading if the CPU does both. It also reports the resident
memory of all processes after each epoch, and the time of a checkpoint. Written to `benchmarks/results/pipeline.json`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from measuring.surroundings import where
from measuring.turns import ratio, take_turns

from rsam_app.config import load_card, load_pipeline
from rsam_app.data import Dataset, load_dataset
from rsam_app.data.loader import Batch
from rsam_app.model import build_model
from rsam_app.system.allocator import retain_freed_memory
from rsam_app.system.precision import choose_precision
from rsam_app.training.checkpoint import save_checkpoint
from rsam_app.training.setup import TrainState, build_state

RESULTS = Path(__file__).resolve().parent / "results" / "pipeline.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", nargs="?", default="cub_mobilenetv2")
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    retain_freed_memory()  # like every command
    pipeline = load_pipeline(arguments.pipeline, ["model.weights=none"])
    whole = load_dataset(load_card(pipeline.dataset), pipeline.seed)
    chosen = {record.id for record in whole.split("train")[: arguments.images]}
    dataset = replace(whole, records=tuple(r for r in whole.records if r.id in chosen))
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    bench, step = _prepare(pipeline, dataset, accelerator)
    memory: list[int] = []
    bench.batches.set_position(0, 0)
    epoch, first = itertools.count(), next(iter(bench.loader))

    def whole_epoch() -> None:
        _epoch(bench, step, next(epoch))
        memory.append(_resident_bytes())

    ways = {
        "resident": lambda: _run(step, itertools.repeat(first, len(bench.batches.sizes))),
        "epoch": whole_epoch,
    }
    seconds = take_turns(ways, arguments.rounds)
    report: dict[str, Any] = {"pipeline": pipeline.name, "images": len(chosen), "environment": where()}
    report["precision"] = choose_precision(pipeline.train.precision, accelerator.device)
    report["epoch_by_resident_batch"] = ratio(seconds["epoch"], seconds["resident"])
    report["epoch_seconds"] = [round(value, 2) for value in seconds["epoch"]]
    report["resident_mib_after_each_epoch"] = [size >> 20 for size in memory]
    report["checkpoint"] = _checkpoint(accelerator, float(np.median(seconds["epoch"])))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def _prepare(pipeline: Any, dataset: Dataset, accelerator: Accelerator) -> tuple[TrainState, Callable[[Batch], None]]:
    torch.manual_seed(pipeline.seed)
    bare = build_model(pipeline.model, dataset.classes)
    bench = build_state(pipeline, dataset, {}, bare, accelerator)

    def step(batch: Batch) -> None:
        loss = bench.objective.batch_losses(batch, bench.inputs(batch), batch["label"].to(bench.device), None).loss
        accelerator.backward(loss / len(batch["label"]))
        accelerator.clip_grad_norm_(bench.model.parameters(), 5.0)
        bench.optimizer.step()
        bench.optimizer.zero_grad()

    bench.model.train()
    return bench, step


def _epoch(bench: TrainState, step: Callable[[Batch], None], number: int) -> None:
    bench.batches.set_position(number, 0)
    _run(step, bench.loader)


def _run(step: Callable[[Batch], None], batches: Iterable[Batch]) -> None:
    for batch in batches:
        step(batch)


def _resident_bytes() -> int:
    """Resident memory of this process and its loading processes; shared memory counts once for each."""
    processes = [psutil.Process(os.getpid()), *psutil.Process(os.getpid()).children(recursive=True)]
    return sum(process.memory_info().rss for process in processes)


def _checkpoint(accelerator: Accelerator, epoch_seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        taken = []
        for _ in range(5):
            begun = time.perf_counter()
            save_checkpoint(accelerator, Path(folder) / "last")
            taken.append(time.perf_counter() - begun)
    seconds = float(np.median(taken))
    return {"seconds": seconds, "share_of_an_epoch": seconds / (seconds + epoch_seconds)}


if __name__ == "__main__":
    main()
