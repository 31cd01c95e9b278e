"""Recall of altered copies, and false matches among different images: cosine of embeddings against the pixel rule.

    RSAM_DATA=… RSAM_WEIGHTS=… python benchmarks/near_duplicates.py --demo runs/demo [--images 400] [--altered 24]

Datasets: birds (CUB), pets and the beetles of `rsam demo`. Some images of each are copied with one alteration at a
time, and the copies are searched for among all images. Embeddings are those of a pretrained MobileNetV2 for birds and
pets, and of the demo's run, trained from scratch, for the beetles. The rule's thresholds were chosen on the birds and
on drawn pictures from a fixed camera (`tests/data/near_duplicates`). Written to
`benchmarks/results/near_duplicates.json`, with the names of the unaltered pairs that were found, for inspection.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.surroundings import where
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rsam_app.config import ModelConfig, load_card
from rsam_app.data import load_dataset
from rsam_app.data.augmentation.random_view import whole_image
from rsam_app.data.images.decoding import read_image
from rsam_app.data.near_duplicates import comparison
from rsam_app.data.near_duplicates.find import find_duplicates
from rsam_app.data.near_duplicates.result import DETAIL
from rsam_app.data.records import Record
from rsam_app.model import AttentiveClassifier, load_model
from rsam_app.model.build import build_model
from rsam_app.model.preprocess import normalise
from rsam_app.run.folder import RunFolder

RESULTS = Path(__file__).resolve().parent / "results" / "near_duplicates.json"
COSINE = 0.97
"""The previous rule."""


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def crop(image: Image.Image, left: float, top: float, share: float) -> Image.Image:
    width, height = image.size
    x, y = round(left * share * width), round(top * share * height)
    return image.crop((x, y, x + round((1 - share) * width), y + round((1 - share) * height)))


def caption(image: Image.Image) -> Image.Image:
    image, (width, height) = image.copy(), image.size
    draw = ImageDraw.Draw(image)
    draw.rectangle((0.65 * width, 0.92 * height, width, height), fill="white")
    draw.text((0.67 * width, 0.93 * height), "a caption", fill="black")
    return image


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG quality 50": lambda image: jpeg(image, 50),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "brightness +15 %": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "brightness -15 %": lambda image: ImageEnhance.Brightness(image).enhance(0.85),
    "contrast +15 %": lambda image: ImageEnhance.Contrast(image).enhance(1.15),
    "contrast -15 %": lambda image: ImageEnhance.Contrast(image).enhance(0.85),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "mirror": ImageOps.mirror,
    "10 % cropped around": lambda image: crop(image, 0.5, 0.5, 0.1),
    "10 % cropped from a corner": lambda image: crop(image, 1, 0, 0.1),
    "15 % cropped from a corner": lambda image: crop(image, 0, 1, 0.15),
    "10 % cropped, JPEG 50": lambda image: jpeg(crop(image, 1, 1, 0.1), 50),
    "mirror, 10 % cropped, brighter, JPEG 50": lambda image: jpeg(
        ImageEnhance.Brightness(ImageOps.mirror(crop(image, 1, 0, 0.1))).enhance(1.15), 50
    ),
    "turned by 3 degrees (beyond the rule)": lambda image: image.rotate(3, Image.Resampling.BICUBIC),
    "caption in a corner (beyond the rule)": caption,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True, help="run of rsam demo, with its dataset beside it")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--altered", type=int, default=24)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    weights = str(Path(os.environ["RSAM_WEIGHTS"]) / "mobilenetv2_100.safetensors")
    pretrained = build_model(ModelConfig(weights=weights, attention="none"), ("one", "other"))
    demo = RunFolder(arguments.demo)
    sets = {
        "birds": ("cub_200_2011", pretrained),
        "pets": ("oxford_iiit_pet", pretrained),
        "beetles": (demo.load_pipeline().dataset, load_model(demo.model)),
    }
    found: dict[str, Any] = {}
    for name, (card, model) in sets.items():
        found[name] = _measure(list(load_dataset(load_card(card)).records), model, arguments.images, arguments.altered)
        print(name, json.dumps(found[name], indent=1), flush=True)
        thresholds = {"cosine": COSINE, "detail": DETAIL, "everywhere": comparison.MIN_AGREEMENT}
        report = {"thresholds": thresholds, "sets": found, "environment": where()}
        RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _measure(records: list[Record], model: AttentiveClassifier, images: int, altered: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    chosen = [records[row] for row in np.sort(rng.permutation(len(records))[:images])]
    with tempfile.TemporaryDirectory() as folder:
        originals = np.sort(rng.permutation(len(chosen))[:altered])
        copies = {
            name: [_copy(chosen[row], Path(folder) / f"{place}-{row}.jpg", alter) for row in originals]
            for place, (name, alter) in enumerate(ALTERATIONS.items())
        }
        everything = [*chosen, *(copy for made in copies.values() for copy in made)]
        units = _directions(model, everything)
        among, of_all = find_duplicates(chosen, everything).groups(), find_duplicates(records).groups()
        recall = {}
        for place, (name, made) in enumerate(copies.items()):
            begin = len(chosen) + place * len(made)
            cosines = (units[originals] * units[begin : begin + len(made)]).sum(axis=1)
            linked = find_duplicates([*chosen, *made], everything).groups()
            again = [linked[len(chosen) + k] == linked[row] >= 0 for k, row in enumerate(originals)]
            recall[name] = {"cosine": float(np.mean(cosines >= COSINE)), "pixels": float(np.mean(again))}
        groups = find_duplicates(everything).groups()
    alike = coo_matrix(np.triu(units[: len(chosen)] @ units[: len(chosen)].T >= COSINE, 1))
    by_cosine = connected_components(alike, directed=False)[1]
    by_cosine = np.where(np.bincount(by_cosine)[by_cosine] > 1, by_cosine, -1)
    pairs = enumerate(list(originals) * len(ALTERATIONS))
    found = [groups[len(chosen) + k] == groups[row] >= 0 for k, row in pairs]
    return {
        "images": len(chosen),
        "altered": len(originals),
        "recall": recall,
        "linked_with_the_original_all_copies_at_once": float(np.mean(found)),
        "unaltered_images_dropped_per_1000": {"cosine": _dropped(by_cosine), "pixels": _dropped(among)},
        "unaltered_groups_by_cosine": _groups(chosen, by_cosine)[:20],
        "all_images": len(records),
        "unaltered_groups_by_pixels_of_all": _groups(records, of_all),
    }


def _dropped(groups: np.ndarray) -> float:
    """Number of 1,000 images that an export would leave out as near-duplicates."""
    linked = groups[groups >= 0]
    return round(1000 * (len(linked) - len(np.unique(linked))) / len(groups), 2)


def _groups(records: list[Record], groups: np.ndarray) -> list[list[str]]:
    return [[records[row].id for row in np.flatnonzero(groups == group)] for group in np.unique(groups[groups >= 0])]


def _copy(record: Record, path: Path, alter: Callable[[Image.Image], Image.Image]) -> Record:
    altered = alter(Image.fromarray(read_image(record.path)[0]))
    altered.save(path, quality=92)
    return replace(record, id=path.name, path=path, width=altered.width, height=altered.height)


def _directions(model: AttentiveClassifier, records: list[Record]) -> np.ndarray:
    """Embeddings `(N, D)` as `rsam predict` saves them (half precision), at length 1."""
    model.eval()
    side = int(model.pretrained_cfg["input_size"][-1])
    rows = []
    for begin in range(0, len(records), 32):
        images = [whole_image(*_read(record, side))[0] for record in records[begin : begin + 32]]
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            rows.append(model.inspect(normalise(batch, model, torch.device("cpu"))).embedding.half())
    points: np.ndarray = torch.cat(rows).float().numpy()
    return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12))


def _read(record: Record, side: int) -> tuple[np.ndarray, int, tuple[int, int]]:
    pixels, displayed = read_image(record.path, side, record.banner)
    return pixels, side, displayed


if __name__ == "__main__":
    main()
