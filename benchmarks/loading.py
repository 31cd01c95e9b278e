"""Speed of loading training batches, compared with timm's loader and torchvision's transforms on the same work.

    RSAM_DATA=data python benchmarks/loading.py [--dataset cub_200_2011] [--images 640] [--rounds 7]

Work: decode, random crop of .4 to 1 of the area to 224 pixels, mirror, jitter brightness, contrast and saturation (ours
also the hue), and yield batches of 32 as 8-bit tensors on the CPU; all leave normalisation to the device. Loaders
alternate in each round, with one thread each and files in the page cache; a ratio is the median over rounds of a
loader's speed divided by timm's in the same round. The start of the workers and the first batch do not count. The large
photographs are the same images enlarged to a short side of 1,536 pixels. Written to `benchmarks/results/loading.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from measuring.surroundings import where
from PIL import Image
from timm.data import ImageDataset, create_loader  # type: ignore[attr-defined]
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from rsam_app.config import AugmentConfig, load_card
from rsam_app.data import Record, load_dataset
from rsam_app.data.augmentation.random_view import TrainAugment
from rsam_app.data.images.cache import caching_images
from rsam_app.data.images.decoding import read_image, resize
from rsam_app.data.loader import Views, make_loader
from rsam_app.data.sampling import EpochBatches

RESULTS = Path(__file__).resolve().parent / "results" / "loading.json"
SIDE, BATCH, SCALE, COLOR, CHANCE = 224, 32, (0.4, 1.0), 0.3, 0.8
TIMM = "timm create_loader"
Loader = Iterable[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cub_200_2011")
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    report: dict[str, Any] = {"dataset": arguments.dataset, "side": SIDE, "batch": BATCH, "rounds": arguments.rounds}
    report["environment"] = where()
    dataset = load_dataset(load_card(arguments.dataset))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        records = _folder_of(dataset.split("train")[:: len(dataset.split("train")) // arguments.images or 1], folder)
        large = _enlarged(records[: len(records) // 4], folder)
        report["shrinking while decoding"] = {"as they are": _error(records), "photographs": _error(large)}
        for name, chosen in {"as they are": records, "photographs": large}.items():
            for workers in (0, 1):
                key = f"{name}, {workers} worker{'' if workers == 1 else 's'}"
                report[key] = _take_turns(chosen, workers, arguments.rounds)
                print(key, json.dumps(report[key], indent=2), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _folder_of(records: Sequence[Record], folder: str) -> list[Record]:
    """The records in class folders, as the other loaders need them."""
    linked = []
    for record in records:
        path = Path(folder) / "as they are" / record.label / record.path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(record.path.resolve())
        linked.append(replace(record, path=path))
    return linked


def _enlarged(records: Sequence[Record], folder: str) -> list[Record]:
    made = []
    for record in records:
        path = Path(folder) / "photographs" / record.label / record.path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels, (width, height) = read_image(record.path)
        factor = 1536 / min(width, height)
        width, height = round(width * factor), round(height * factor)
        Image.fromarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)).save(path, quality=90)
        made.append(replace(record, path=path, width=width, height=height))
    return made


def _error(records: Sequence[Record]) -> dict[str, float]:
    """Mean absolute difference, of 255, from Pillow's antialiased bicubic resize of the fully decoded image."""
    stored, at_once, plain = [], [], []
    for record in records[:64]:
        whole, _ = read_image(record.path)
        reference = np.asarray(Image.fromarray(whole).resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=int)
        stored.append(np.abs(resize(read_image(record.path, SIDE)[0], SIDE, SIDE) - reference).mean())
        at_once.append(np.abs(resize(whole, SIDE, SIDE) - reference).mean())
        plain.append(np.abs(cv2.resize(whole, (SIDE, SIDE)).astype(int) - reference).mean())
    means = [round(float(np.mean(values)), 2) for values in (stored, at_once, plain)]
    return dict(zip(("as stored, then resized", "resized at once", "not antialiased"), means, strict=True))


def _take_turns(records: list[Record], workers: int, rounds: int) -> dict[str, Any]:
    """One measurement of every loader per round, after a warm-up round."""
    with ExitStack() as stack:
        warm = _ours(records, workers, stack, Path(os.environ["XDG_CACHE_HOME"]) / "warm")
        direct = _ours(records, workers, stack, None)
        persistent: dict[str, Callable[[], Loader]] = {
            TIMM: _always(_timm(records, workers)),
            "torchvision v2": _always(_torchvision(records, workers)),
            "ours, not kept": _always(direct),
            "ours, kept": _always(warm),
        }
        speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in (*persistent, "ours, first epoch")}
        for turn in range(rounds + 1):
            with ExitStack() as of_round, tempfile.TemporaryDirectory() as fresh:
                cold = _ours(records, workers, of_round, Path(fresh))
                turns = {**persistent, "ours, first epoch": _always(cold)}
                names = list(turns)
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    speed = _speed(turns[name]())
                    if turn:
                        speeds[name].append(speed)
    return {name: _summary(found, speeds[TIMM], workers) for name, found in speeds.items()}


def _always(loader: Loader) -> Callable[[], Loader]:
    return lambda: loader


def _speed(loader: Loader) -> tuple[float, float]:
    """Images per second of wall-clock time, and of this process's CPU time, over an epoch without its first batch."""
    batches, seen = iter(loader), 0
    next(batches)
    clock, processor = time.perf_counter(), time.process_time()
    for batch in batches:
        images = batch["image"] if isinstance(batch, dict) else batch[0]
        if images.shape[1:] != (3, SIDE, SIDE) or images.dtype != torch.uint8:
            raise RuntimeError(f"a loader gave {images.dtype} {tuple(images.shape)}: not the same work")
        seen += len(images)
    return seen / (time.perf_counter() - clock), seen / (time.process_time() - processor)


def _summary(found: list[tuple[float, float]], timm: list[tuple[float, float]], workers: int) -> dict[str, float]:
    speeds, reference = np.array(found), np.array(timm)
    ratios = speeds / reference
    low, high = np.quantile(ratios[:, 0], [0.25, 0.75])
    summary = {
        "images_per_second": round(float(np.median(speeds[:, 0])), 1),
        "ratio_to_timm": round(float(np.median(ratios[:, 0])), 2),
        "quartile_low": round(float(low), 2),
        "quartile_high": round(float(high), 2),
    }
    if not workers:  # their work is in other processes
        summary["ratio_by_processor_time"] = round(float(np.median(ratios[:, 1])), 2)
    return summary


def _ours(records: list[Record], workers: int, stack: ExitStack, cache: Path | None) -> Loader:
    """Our loader, with images cached in `cache` if given."""
    if cache is not None:
        os.environ["XDG_CACHE_HOME"] = str(cache)
    with caching_images(records, SIDE, lambda text: None) if cache is not None else ExitStack():
        augment = TrainAugment(AugmentConfig(min_scale=SCALE[0], color=COLOR), SIDE)
        index = {label: place for place, label in enumerate(sorted({r.label for r in records}))}
        views = Views(records, index, SIDE, augment)
    return make_loader(views, EpochBatches(len(records), BATCH, seed=0), workers, pin_memory=False)


def _timm(records: list[Record], workers: int) -> Loader:
    loader = create_loader(
        ImageDataset(str(records[0].path.parent.parent)),  # type: ignore[no-untyped-call]
        input_size=(3, SIDE, SIDE),
        batch_size=BATCH,
        is_training=True,
        scale=SCALE,
        hflip=0.5,
        color_jitter=(COLOR, COLOR, COLOR),  # type: ignore[arg-type]
        color_jitter_prob=CHANCE,
        interpolation="bilinear",
        num_workers=workers,
        device=torch.device("cpu"),
        persistent_workers=workers > 0,
    )
    return loader.loader  # type: ignore[no-any-return]  # without the normalisation that it adds on a CPU


def _torchvision(records: list[Record], workers: int) -> Loader:
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomResizedCrop(SIDE, scale=SCALE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(COLOR, COLOR, COLOR)], p=CHANCE),
        ]
    )
    folder = ImageFolder(str(records[0].path.parent.parent), transform)
    return DataLoader(folder, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)


if __name__ == "__main__":
    main()
