"""A small dataset on disk, and the predictions table of a mediocre model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from scipy.special import softmax

from rsam_app.data.records import Dataset, Record
from rsam_app.run.predictions import SCHEMA

MakeTable = Callable[..., pa.Table]

CLASSES = ("<b>Möwe & Sohn</b>", '"Ёжик"', "日本_スピッツ", "never seen")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, ...]:
    """Forty images with a box each, of three of the four classes, in a folder with a non-ASCII name: 20 to validate,
    as many as a temperature takes."""
    generator = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("Bilder ü", numbered=True)
    found = []
    for i in range(40):
        width, height = 80 + i, 60
        path = folder / f"bild {i}.jpg"
        Image.fromarray(generator.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
        box = (float(generator.uniform(5, 30)), float(generator.uniform(5, 20)), 40.0, 30.0)
        split = ("train", "test", "val")[i % 3] if i < 30 else "val"
        found.append(Record(path.name, path, CLASSES[2 if 27 <= i < 30 else i % 2], split, width, height, boxes=(box,)))
    return tuple(found)


@pytest.fixture(scope="module")
def dataset(records: tuple[Record, ...]) -> Dataset:
    """The records as a dataset; the last class has no images."""
    return Dataset("odd <set>", records, CLASSES, "none")


@pytest.fixture(scope="module")
def make_table() -> MakeTable:
    """Make the predictions table of records, with rectangles near their boxes."""

    def make(records: Sequence[Record], classes: Sequence[str] = CLASSES, rectangles: bool = True) -> pa.Table:
        generator = np.random.default_rng(1)
        rows = []
        for record in records:
            logits = generator.normal(size=len(classes))
            logits[list(classes).index(record.label)] += generator.choice([0, 4])
            probabilities = np.sort(softmax(logits))[::-1]
            x, y, width, height = record.boxes[0] if record.boxes else (10, 10, 40, 40)
            numbers = {"cx": x + width / 2, "cy": y + height / 2, "width": width, "height": height, "angle": 0.1}
            rows.append(
                {
                    "id": record.id,
                    "path": str(record.path),
                    "split": record.split,
                    "label": record.label,
                    "predicted": classes[int(logits.argmax())],
                    "confidence": probabilities[0],
                    "margin": probabilities[0] - probabilities[1],
                    "entropy": float(-(probabilities * np.log(probabilities)).sum()),
                    "logits": logits.tolist(),
                    "misattention": generator.random(),
                    **({k: v * generator.uniform(0.8, 1.2) for k, v in numbers.items()} if rectangles else {}),
                }
            )
        return pa.Table.from_pylist(rows, schema=SCHEMA.append(pa.field("misattention", pa.float32())))

    return make
