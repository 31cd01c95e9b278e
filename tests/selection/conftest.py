"""Pools and runs of a few records, made from arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import SCHEMA, write_predictions
from rsam_app.selection import Pool, load_pool

CLASSES = ("wren", "wryneck", "zilpzalp", "Grünfink")


def predictions(
    logits: np.ndarray, labels: list[str | None], ids: list[str] | None = None, split: str = "train", **scores: Any
) -> pa.Table:
    """Return a predictions table as the predict stage writes it, rows in the order given."""
    n = len(logits)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    descending = -np.sort(-probabilities, axis=1)
    names = ids or [f"images/{i:04}.jpg" for i in range(n)]
    columns: dict[str, Any] = {
        "id": names,
        "path": [f"photographs/{name}" for name in names],
        "split": [split] * n,
        "label": labels,
        "predicted": [CLASSES[c] for c in probabilities.argmax(axis=1)],
        "confidence": descending[:, 0],
        "margin": descending[:, 0] - descending[:, 1],
        "entropy": -(probabilities * np.log(np.maximum(probabilities, 1e-30))).sum(axis=1),
        "logits": [list(map(float, row)) for row in logits],
        "cx": np.full(n, 50.0),
        "cy": np.full(n, 40.0),
        "width": np.full(n, 30.0),
        "height": np.full(n, 20.0),
        "angle": np.full(n, 0.1),
        "corners": [[0.1] * 8] * n,
        "box": [[0.1] * 4] * n,
    }
    schema = SCHEMA
    for name, values in scores.items():
        schema = schema.append(pa.field(name, pa.float32()))
        columns[name] = list(values)
    return pa.table(columns, schema=schema)


MakeRun = Callable[..., RunFolder]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run with the predictions of one split; another call adds a split."""

    def make(logits: np.ndarray, labels: list[str | None], *, embeddings: Any = None, **rest: Any) -> RunFolder:
        run = RunFolder(tmp_path / "run")
        split = rest.get("split", "train")
        table = predictions(logits, labels, **rest)
        write_predictions(run.predictions / f"{split}.parquet", table, embeddings)
        return run

    return make


@pytest.fixture
def make_pool(make_run: MakeRun) -> Callable[..., Pool]:
    """Makes the pool of a run with one split."""

    def make(*args: Any, embeddings: Any = None, **kwargs: Any) -> Pool:
        return load_pool(make_run(*args, embeddings=embeddings, **kwargs), "train", embeddings=embeddings is not None)

    return make


@pytest.fixture
def random_logits() -> np.ndarray:
    """40 records, 4 classes."""
    return np.random.default_rng(5).normal(size=(40, 4)) * 2
