"""A small drawn dataset, and runs on it as `rsam predict` writes them."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

from rsam_app.config import Pipeline
from rsam_app.data.records import Dataset, Record
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import SCHEMA, write_predictions

CLASSES = ("Ärger Finch", "blue tit", "crow")
MakeRun = Callable[..., RunFolder]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The system's Chromium; without it the test is skipped, but fails in CI."""
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("RSAM_REQUIRE_PHOTOGRAPHS"):
            pytest.fail("no chromium on PATH")
        pytest.skip("no chromium on PATH")
    return found


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, ...]:
    """24 drawn images 240 × 160, in folders with spaces and umlauts, each with a true box."""
    folder = tmp_path_factory.mktemp("Bilder – größe")
    return tuple(_draw(folder, i) for i in range(24))


@pytest.fixture
def drawn(images: tuple[Record, ...], tmp_path: Path, fiftyone_module: ModuleType) -> Iterator[Dataset]:
    """The images as a dataset of this test; its FiftyOne dataset is deleted afterwards."""
    dataset = Dataset(f"drawn-{tmp_path.name}", images, CLASSES, "CC0")
    yield dataset
    if fiftyone_module.dataset_exists(dataset.name):
        fiftyone_module.delete_dataset(dataset.name)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(dataset, name='run one', splits=('train', 'test'), seed=0, attention=True, shift=0.0)`."""

    def make(
        dataset: Dataset, name: str = "run one", splits: tuple[str, ...] = ("train", "test"), **options: Any
    ) -> RunFolder:
        run = RunFolder(tmp_path / "runs" / name)
        if not run.config_path.exists():
            run.save_pipeline(Pipeline(name="drawn", dataset="drawn"))
        for split in splits:
            write_predictions(run.predictions / f"{split}.parquet", predict(dataset.split(split), **options))
        return run

    return make


@pytest.fixture
def users(images: Any, tmp_path: Path, fiftyone_module: ModuleType) -> Iterator[Any]:
    """The drawn images in class folders, imported by FiftyOne, with fields, tags and a view of the user's."""
    fo = fiftyone_module
    name = f"mine {tmp_path.name}"
    folder = images[0].path.parent.parent
    mine = fo.Dataset.from_dir(str(folder), fo.types.ImageClassificationDirectoryTree, name=name, progress=False)
    mine.persistent = True
    mine.set_values("split", ["a" if i % 2 else "b" for i in range(len(mine))])
    mine.set_values("weight_g", [10.0 + i for i in range(len(mine))])
    mine.limit(5).tag_samples("checked")
    mine.save_view("heavy", mine.match({"weight_g": {"$gt": 20}}), description="from 20 g")
    mine.info = {"owner": "Ann"}
    mine.save()
    yield mine
    if fo.dataset_exists(name):
        fo.delete_dataset(name)


@pytest.fixture
def card(drawn: Dataset) -> Dataset:
    """The records as `import_dataset` reads them: the file is the id."""
    return replace(drawn, records=tuple(replace(r, id=str(r.path)) for r in drawn.records))


@pytest.fixture(scope="module")
def written(images: tuple[Record, ...], tmp_path_factory: pytest.TempPathFactory, fiftyone_module: ModuleType) -> Any:
    """A FiftyOne dataset with 'run one' written, to be cloned but not changed."""
    from rsam_app.review.writing.write_run import write_run

    dataset = Dataset("written once", images, CLASSES, "CC0")
    run = RunFolder(tmp_path_factory.mktemp("runs") / "run one")
    for split in ("train", "test"):
        write_predictions(run.predictions / f"{split}.parquet", predict(dataset.split(split)))
    write_run(run, dataset)
    return fiftyone_module.load_dataset(dataset.name)


@pytest.fixture
def review_set(drawn: Dataset, make_run: MakeRun, written: Any) -> Any:
    """The FiftyOne dataset of `drawn` with 'run one' written; cloned, which saves a second."""
    from rsam_app.review.dataset.schema import memory, remember

    copy = written.clone(drawn.name, persistent=True)
    runs = memory(copy).runs
    runs["run_one"].path = str(make_run(drawn).path.resolve())
    remember(copy, runs=runs)
    return copy


def predict(records: tuple[Record, ...], seed: int = 0, attention: bool = True, shift: float = 0.0) -> pa.Table:
    """A predictions table for these records by the schema: rectangles near the true box, rotated, moved by `shift`."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, record in enumerate(records):
        logits = rng.normal(size=len(CLASSES))
        if number % 4:
            logits[CLASSES.index(record.label)] += 4
        probabilities = np.exp(logits) / np.exp(logits).sum()
        first, second = np.sort(probabilities)[::-1][:2]
        row: dict[str, Any] = {
            "id": record.id,
            "path": str(record.path),
            "split": record.split,
            "label": record.label,
            "predicted": CLASSES[int(logits.argmax())],
            "confidence": first,
            "margin": first - second,
            "entropy": -(probabilities * np.log(probabilities)).sum(),
            "logits": logits.tolist(),
            "misattention": float(rng.random()),
            "label_quality": float(probabilities[CLASSES.index(record.label)]),
        }
        rows.append(row | (rectangle(record, 0.5 - 0.1 * number, shift) if attention else {}))
    schema = pa.schema([*SCHEMA, ("misattention", pa.float32()), ("label_quality", pa.float32())])
    return pa.Table.from_pylist(rows, schema=schema)


def rectangle(record: Record, angle: float, shift: float) -> dict[str, Any]:
    """The rectangle's columns: the true box rotated by `angle`, in pixels, then relative."""
    x, y, width, height = record.boxes[0]
    cx, cy = x + width / 2 + shift, y + height / 2
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    signs = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    corners = [np.array([cx, cy]) + a * width / 2 * along + b * height / 2 * across for a, b in signs]
    relative = np.array(corners) / [record.width, record.height]
    low, high = relative.min(0).clip(0, 1), relative.max(0).clip(0, 1)
    five = {"cx": cx, "cy": cy, "width": width, "height": height, "angle": angle}
    return five | {"corners": relative.ravel().tolist(), "box": [*low, *(high - low)]}


def _draw(folder: Path, i: int) -> Record:
    rng = np.random.default_rng(i)
    label, path = CLASSES[i % 3], folder / CLASSES[i % 3] / f"Bild {i:02}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    ground = rng.integers(90, 150, size=(20, 30, 3)).astype(np.uint8)
    image = Image.fromarray(ground).resize((240, 160))
    x, y = (int(v) for v in rng.integers(20, (130, 60)))
    ImageDraw.Draw(image).ellipse([x, y, x + 80, y + 60], fill=[(200, 60, 50), (70, 90, 200), (30, 30, 30)][i % 3])
    image.save(path)
    split = "test" if i >= 18 else "train"
    return Record(f"{label}/{path.name}", path, label, split, 240, 160, boxes=((x, y, 80, 60),))
