"""A dataset with awkward names, boxes and masks, a run that predicted it, and corrections."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from rsam_app.config import Card
from rsam_app.data import Dataset, load_dataset
from rsam_app.export import ExportItem, Source
from rsam_app.export.items import collect
from rsam_app.run.corrections import Correction
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import SCHEMA, write_predictions

CLASSES = ("a/b: c?", "wren", "Wren", "..", "Grünfink", "con")
STEMS = ("bird", "Bird", "été — 1", "日本", "日語", "a b", "CON", ".hidden", 'a,b;"c', "x" * 120)


@dataclass(frozen=True)
class Aviary:
    """The dataset, its run, the rows of the corrections table and the resulting items."""

    dataset: Dataset
    run: RunFolder
    corrections: list[Correction]
    items: list[ExportItem]
    source: Source


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


Load = Callable[..., Dataset]


@pytest.fixture
def load() -> Load:
    """Load a dataset by layout and root; splits train, val, test unless others are given."""

    def load_card(layout: str, root: Path, **splits: str) -> Dataset:
        card = {"name": "aviary", "layout": layout, "root": str(root), "licence": "CC0"}
        return load_dataset(Card.model_validate(card | ({"splits": splits} if splits else {})))

    return load_card


def draw(path: Path, seed: int, size: tuple[int, int]) -> None:
    """A small random image, so that no two files have the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def write_original(folder: Path) -> Path:
    """60 images in folders with equal file names, boxes (none, one, two), masks with values 0 and 7."""
    rows = []
    for k in range(60):
        size = (40 + k % 3, 30 + k % 5)
        stem, suffix = STEMS[k % len(STEMS)], (".jpg", ".PNG", ".jpeg")[k % 3]
        path = folder / f"part {k // 10}" / f"{stem}{suffix}"
        draw(path, k, size)
        mask = ""
        if k % 4 == 0:
            mask = f"masks/{k}.png"
            values = np.zeros((size[1], size[0]), dtype=np.uint8)
            values[5:20, 5 : 20 + k % 7] = 7
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(values).save(folder / mask)
        boxes = [("", "", "", ""), (1.25, 2, 10.5, 12), (-3, 4, 20, 90)][: 1 + k % 3][k % 3 and 1 :]
        split = ("train", "train", "train", "val", "test")[(k // 6) % 5]
        rows += [[path.relative_to(folder).as_posix(), CLASSES[k % 6], split, *box, mask] for box in boxes]
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["path", "label", "split", "x", "y", "width", "height", "mask"], *rows])
    return folder / "manifest.csv"


def write_run(folder: Path, dataset: Dataset) -> RunFolder:
    """A run that predicted all records but the last, every seventh without a rectangle."""
    run = RunFolder(folder)
    for split in ("train", "val", "test"):
        records = [r for r in dataset.split(split) if r != dataset.records[-1]]
        n = len(records)
        gone = [dataset.records.index(r) % 7 == 0 for r in records]

        def number(value: float, gone: list[bool] = gone) -> list[float | None]:
            return [None if g else value for g in gone]

        columns = {
            "id": [r.id for r in records],
            "path": [str(r.path) for r in records],
            "split": [split] * n,
            "label": [r.label for r in records],
            "predicted": ["wren"] * n,
            "confidence": [0.5] * n,
            "margin": [0.1] * n,
            "entropy": [1.0] * n,
            "logits": [[0.0] * 6] * n,
            **{
                name: number(v)
                for name, v in zip(("cx", "cy", "width", "height"), (20.0, 15.0, 16.0, 8.0), strict=True)
            },
            "angle": number(0.5),
            "corners": [[0.0] * 8] * n,
            "box": [[0.0] * 4] * n,
        }
        write_predictions(run.predictions / f"{split}.parquet", pa.table(columns, schema=SCHEMA))
    return run


@pytest.fixture
def aviary(tmp_path: Path, load: Load) -> Aviary:
    """All of it, loaded by the product's layouts."""
    dataset = load("manifest", write_original(tmp_path / "original"))
    run = write_run(tmp_path / "runs" / "first", dataset)
    ids = [r.id for r in dataset.records]
    drawn = json.dumps([10.0, 12.0, 6.0, 4.0, -0.3])
    rows = [
        (ids[1], "label", "wren", "Grünfink"),
        (ids[2], "rectangle", "", drawn),
        (ids[5], "exclude", "false", "true"),
    ]
    corrections = [Correction(*row, who="ada", when="2025-01-01T00:00:00Z", run="first") for row in rows]  # type: ignore[arg-type]
    items = collect(run, dataset, ids, corrections, {ids[1]: ("relabel", "good")})
    return Aviary(dataset, run, corrections, items, Source("aviary", "CC0", dataset.classes, "first", "good"))
