"""What a run's predictions say together rather than row by row: triage, near-duplicates, the map of embeddings, and
which classes are confused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rsam_app.errors import UserError
from rsam_app.predictions import embeddings_path, read_columns, read_embeddings
from rsam_app.review.alike import MOST, NEAR, Alike, find_alike
from rsam_app.review.calibrated import write_calibrated
from rsam_app.review.dataset import add_field, memory, remember
from rsam_app.review.embedding_map import map_embeddings
from rsam_app.review.triage import find_thresholds, write_triage
from rsam_app.run_folder import RunFolder, fingerprint

VERSION = 1
"""Raised when something here is computed otherwise, so that it is computed again."""
PAIRS = 5
"""Confusion pairs that get a view of their own."""
SEEN_OFTEN = 3
"""Images of a pair below which it is chance."""
CHUNK = 20_000


def derive(review_set: Any, run: RunFolder, key: str) -> list[str]:
    """Bring what follows from all tables of `run` up to date in its FiftyOne data set.

    Returns what could not be said, and why, and how calibration on a person's verdicts goes. What the tables, and the
    embeddings beside them, said the last time is not computed again.
    """
    table = read_columns(run.predictions, ["id", "split", "label", "predicted", "label_quality", "misattention"])
    notes: list[str] = []
    thresholds = find_thresholds(table)
    if thresholds.label_quality is not None or thresholds.misattention is not None:
        write_triage(review_set, key, thresholds)
    held = _held(review_set, key)
    state = {"pairs": confusion_pairs(table), "embeddings": _embeddings_state(run, table)}
    if state["embeddings"] != held.get("embeddings"):
        notes += _write_embeddings(review_set, run, key, table)
    if state != held:
        derived = memory(review_set).get("derived", {})
        remember(review_set, derived={**derived, key: state})
    calibration = write_calibrated(review_set, run, key)
    return [*notes, calibration.text()] if calibration.verdicts else notes


def pairs_of(review_set: Any, key: str) -> list[tuple[str, str]]:
    """The confusion pairs of the run `key`, as `derive` found them."""
    return [(first, second) for first, second in _held(review_set, key).get("pairs", [])]


def confusion_pairs(predictions: pa.Table) -> list[list[str]]:
    """The pairs of classes that are most often taken for each other, either way, the most frequent first; of held-out
    images where there are any, because training images are known by heart."""
    labels, predicted, splits = (predictions.column(n).to_pylist() for n in ("label", "predicted", "split"))
    held_out = any(split != "train" for split in splits)
    counts = Counter(
        tuple(sorted((label, other)))
        for label, other, split in zip(labels, predicted, splits, strict=True)
        if label and other and label != other and not (held_out and split == "train")
    )
    often = sorted((pair for pair in counts if counts[pair] >= SEEN_OFTEN), key=lambda pair: (-counts[pair], pair))
    return [list(pair) for pair in often[:PAIRS]]


def _held(review_set: Any, key: str) -> dict[str, Any]:
    found: dict[str, Any] = memory(review_set).get("derived", {}).get(key, {})
    return found


def _embeddings_state(run: RunFolder, table: pa.Table) -> str:
    """A fingerprint of the embeddings' files by name, size and time, and of which image is in which split."""
    files = [embeddings_path(path) for path in sorted(run.predictions.glob("*.parquet"))]
    stamps = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) if p.exists() else p.name for p in files]
    return fingerprint(VERSION, stamps, table.column("id").to_pylist(), table.column("split").to_pylist())


def _write_embeddings(review_set: Any, run: RunFolder, key: str, table: pa.Table) -> list[str]:
    if table.num_rows > MOST:
        return [f"no near-duplicates and no map of {table.num_rows:,} embeddings: up to {MOST:,} are compared"]
    try:
        embeddings = read_embeddings(run.predictions)
    except UserError as error:
        return [f"no near-duplicates and no map of embeddings: {error}"]
    ids = table.column("id").to_pylist()
    sample_of = dict(zip(*review_set.values(["record_id", "id"]), strict=True))
    rows = np.array([n for n, record_id in enumerate(ids) if record_id in sample_of], dtype=np.int64)
    samples = [sample_of[ids[n]] for n in rows]
    splits = np.array(table.column("split").to_pylist(), dtype=object)[rows].astype(str)
    _write_alike(review_set, key, samples, [ids[n] for n in rows], find_alike(embeddings[rows], splits))
    _write_map(review_set, key, samples, map_embeddings(embeddings[rows]))
    return []


def _write_alike(review_set: Any, key: str, samples: list[str], ids: list[str], alike: Alike) -> None:
    import fiftyone as fo

    names = {
        "near_duplicate": (fo.FloatField, "cosine of its embedding with that of the image most like it"),
        "leak": (fo.FloatField, "the same, among images of other splits"),
        "duplicate_group": (fo.StringField, f"the first image of those that are alike, from a cosine of {NEAR} on"),
    }
    for name, (kind, about) in names.items():
        add_field(review_set, f"{key}_{name}", kind, description=about)
    values: dict[str, list[Any]] = {
        "near_duplicate": _or_none(alike.nearest),
        "leak": _or_none(alike.elsewhere),
        "duplicate_group": [ids[first] if first >= 0 else None for first in alike.group],
    }
    for name, column in values.items():
        for part in _parts(dict(zip(samples, column, strict=True))):
            review_set.set_values(f"{key}_{name}", part, key_field="id", validate=False, expand_schema=False)


def _write_map(review_set: Any, key: str, samples: list[str], points: np.ndarray) -> None:
    import fiftyone.brain as fob

    if review_set.has_brain_run(map_name(key)):
        review_set.delete_brain_run(map_name(key))
    if len(samples):
        by_sample = dict(zip(samples, points, strict=True))
        view = review_set.select(samples)
        fob.compute_visualization(view, points=by_sample, brain_key=map_name(key), method="manual", progress=False)


def map_name(key: str) -> str:
    """Under which brain key the App's embeddings panel finds the map of the run `key`."""
    return f"{key}_embeddings"


def _or_none(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _parts(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    items = list(values.items())
    for start in range(0, len(items), CHUNK):
        yield dict(items[start : start + CHUNK])
