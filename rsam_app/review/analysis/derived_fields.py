"""What a run's predictions say together rather than row by row: triage, suggested labels, near-duplicates, the map of
embeddings, and which classes are confused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from rsam_app.data.images.file_identity import stamp
from rsam_app.data.near_duplicates.result import DETAIL, Duplicates
from rsam_app.data.near_duplicates.table import files_state, near_duplicates, predicted_records
from rsam_app.data.records import Dataset, Record
from rsam_app.review.analysis.calibrated_misattention import write_calibrated
from rsam_app.review.analysis.embeddings import map_embeddings, nearest_cosines
from rsam_app.review.analysis.suggested_labels import beliefs_state, write_suggestions
from rsam_app.review.analysis.triage import find_thresholds, write_triage
from rsam_app.review.dataset.schema import add_field, memory, remember
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import embeddings_path, read_columns, read_embeddings
from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint
from rsam_app.system.versions import DERIVED_FIELDS

if TYPE_CHECKING:
    from rsam_app.system.progress import StepProgress

PAIRS = 5
"""Confusion pairs that get a view of their own."""
SEEN_OFTEN = 3
"""Images of a pair below which it is chance."""
CHUNK = 20_000


def derive(
    review_set: Any, run: RunFolder, key: str, dataset: Dataset, progress: StepProgress | None = None
) -> list[str]:
    """Bring what follows from all tables of `run` up to date in its FiftyOne dataset.

    Returns what could not be said, and why, and how calibration on a person's verdicts goes. What the tables, the
    embeddings beside them and the images said the last time is not computed again, and near-duplicates are those that
    `rsam predict` kept, where the files are still the same.
    """

    columns = ["id", "split", "label", "predicted", "confidence", "label_quality", "misattention"]
    table = read_columns(run.predictions, columns)
    notes: list[str] = []
    thresholds = find_thresholds(table)
    if thresholds.label_quality is not None or thresholds.misattention is not None:
        write_triage(review_set, key, thresholds)
    held = _held(review_set, key)
    rows = _shown_rows(review_set, table)
    shown = predicted_records(dataset, rows.ids)
    state = {
        "pairs": confusion_pairs(table),
        "beliefs": beliefs_state(run),
        "embeddings": _embeddings_state(run, table),
        "photographs": fingerprint(DERIVED_FIELDS, files_state(shown), [record.split for record in shown]),
    }
    if state["beliefs"] != held.get("beliefs"):
        write_suggestions(review_set, key, run, table.take(rows.places), rows.samples)
    if state["embeddings"] != held.get("embeddings"):
        notes += _write_embeddings(review_set, run, key, rows, progress)
    if state["photographs"] != held.get("photographs"):
        duplicates = near_duplicates(run.near_duplicates, shown, dataset.records, progress)
        _write_duplicates(review_set, key, rows, shown, duplicates)
        notes += duplicates.notes()
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
    stamps = [(path.name, stamp(path)) for path in files]
    return fingerprint(DERIVED_FIELDS, stamps, table.column("id").to_pylist(), table.column("split").to_pylist())


class _Rows(NamedTuple):
    """The predictions that have a sample: their rows in the tables, their ids, and the samples'."""

    places: np.ndarray
    ids: list[str]
    samples: list[str]


def _shown_rows(review_set: Any, table: pa.Table) -> _Rows:
    ids = table.column("id").to_pylist()
    sample_of = dict(zip(*review_set.values(["record_id", "id"]), strict=True))
    places = [place for place, record_id in enumerate(ids) if record_id in sample_of]
    found = [ids[place] for place in places]
    return _Rows(np.array(places, dtype=np.int64), found, [sample_of[record_id] for record_id in found])


def _write_embeddings(
    review_set: Any, run: RunFolder, key: str, rows: _Rows, progress: StepProgress | None
) -> list[str]:
    try:
        embeddings = read_embeddings(run.predictions)
    except UserError as error:
        return [f"no map of embeddings, and no nearest ones: {error}"]
    if len(rows.places) < len(embeddings):
        embeddings = embeddings[rows.places]
    about = "cosine of its embedding with the nearest other one's: series of one subject have a high one"
    searching = None if progress is None else partial(progress, "looking for the nearest embeddings")
    nearest = _or_none(nearest_cosines(embeddings, searching))
    _write_values(review_set, f"{key}_nearest", rows.samples, nearest, about)
    _write_map(review_set, key, rows.samples, map_embeddings(embeddings))
    return []


def _write_duplicates(review_set: Any, key: str, rows: _Rows, shown: Sequence[Record], duplicates: Duplicates) -> None:
    sample_of = dict(zip(rows.ids, rows.samples, strict=True))
    samples = [sample_of[record.id] for record in shown]
    splits = np.array([record.split for record in shown], dtype=object)
    groups = duplicates.groups()
    first = [shown[row].id if row >= 0 else None for row in groups.tolist()]
    values: dict[str, tuple[list[Any], str]] = {
        "near_duplicate": (
            _or_none(duplicates.best()),
            f"how well its detail agrees with that of the same photograph beside it, {DETAIL:g} to 1",
        ),
        "leak": (_or_none(_leaks(duplicates, groups, splits)), "the same, where that is in another split"),
        "duplicate_group": (first, "the first image of those that are the same photograph"),
    }
    for name, (column, about) in values.items():
        _write_values(review_set, f"{key}_{name}", samples, column, about)


def _leaks(duplicates: Duplicates, groups: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """The likeness with the same photograph in another split, NaN where there is none; of an image that is linked with
    such only through others, its likeness with these."""
    direct, any_split = duplicates.best(splits), duplicates.best()
    in_group: dict[int, set[str]] = {}
    for group, split in zip(groups.tolist(), splits.tolist(), strict=True):
        in_group.setdefault(group, set()).add(split)
    leaked = np.array([group >= 0 and len(in_group[group]) > 1 for group in groups.tolist()], dtype=bool)
    found: np.ndarray = np.where(leaked, np.where(np.isnan(direct), any_split, direct), np.nan)
    return found


def _write_values(review_set: Any, field: str, samples: Sequence[str], column: Sequence[Any], about: str) -> None:
    """A value for each sample; a field of text where they are text, else of numbers. Most have no near-duplicate,
    so only what differs from what is there is written: a tenth of the time."""
    import fiftyone as fo

    text = field.endswith("_group")
    add_field(review_set, field, fo.StringField if text else fo.FloatField, description=about)
    held = dict(zip(*review_set.exists(field).values(["id", field]), strict=True))
    changed = [pair for pair in zip(samples, column, strict=True) if pair[1] != held.get(pair[0])]
    for start in range(0, len(changed), CHUNK):
        part = dict(changed[start : start + CHUNK])
        review_set.set_values(field, part, key_field="id", validate=False, expand_schema=False)


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
