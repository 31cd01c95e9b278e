"""Fields computed from all predictions of a run together: triage, suggested labels, sure answers, near-duplicates,
nearest embeddings and their map, confusion pairs, and the entries in FiftyOne's own panels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
from rsam_app.review.analysis.fiftyone_runs import evaluation_state, has_umap, write_brain_runs, write_evaluations
from rsam_app.review.analysis.suggested_labels import beliefs_state, write_suggestions
from rsam_app.review.analysis.sure_answers import sure_answers_state, write_sure_answers
from rsam_app.review.analysis.text_search import write_text_index
from rsam_app.review.analysis.triage import find_thresholds, write_triage
from rsam_app.review.dataset.memory import DerivedMemory
from rsam_app.review.dataset.schema import add_fields, memory, remember
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import embeddings_path, read_columns, read_embeddings, with_present_names
from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint
from rsam_app.system.versions import DERIVED_FIELDS

if TYPE_CHECKING:
    from rsam_app.system.progress import StepProgress

MAX_PAIRS = 5
"""Confusion pairs that get a saved view."""
MIN_CONFUSIONS = 3
"""Confused images from which on a pair counts."""
CHUNK = 20_000
"""Values that are written at once."""


def derive(
    review_set: Any,
    run: RunFolder,
    key: str,
    dataset: Dataset,
    progress: StepProgress | None = None,
    all_panels: bool = False,
    text_model: str | None = None,
) -> list[str]:
    """Update the derived fields of `run` in its FiftyOne dataset.

    Returns messages: what could not be computed and why, and the state of the calibration on the reviewer's verdicts.
    Fields whose inputs (tables, embeddings, images) are unchanged are not computed again, and near-duplicates are read
    from the run if `rsam predict` found them in the same files.
    """
    columns = ["id", "split", "label", "predicted", "confidence", "label_quality", "misattention"]
    table = read_columns(run.predictions, columns)
    notes: list[str] = []
    thresholds = find_thresholds(table)
    if thresholds.label_quality is not None or thresholds.misattention is not None:
        write_triage(review_set, key, thresholds)
    before, names = _remembered(review_set, key), memory(review_set).class_names
    rows = _rows_with_sample(review_set, table)
    records = predicted_records(dataset, rows.ids)
    split = "test" if dataset.split("test") else "val"
    state = DerivedMemory(
        pairs=confusion_pairs(with_present_names(table, names)),
        beliefs=beliefs_state(run, names),
        sure_answers=sure_answers_state(run),
        embeddings=fingerprint(_embeddings_state(run, table), all_panels, *(["umap"] * (all_panels and has_umap()))),
        evaluation=evaluation_state(review_set, key, split, all_panels),
        photographs=fingerprint(DERIVED_FIELDS, files_state(records), [record.split for record in records]),
        text=fingerprint(text_model, files_state(records)) if text_model else None,
    )
    if state.beliefs != before.beliefs:
        write_suggestions(review_set, key, run, table.take(rows.indices), rows.samples, names)
    if state.sure_answers != before.sure_answers:
        write_sure_answers(review_set, key, run, dict(zip(rows.ids, rows.samples, strict=True)))
    if state.evaluation != before.evaluation:
        notes += write_evaluations(review_set, key, split, all_panels)
    if state.embeddings != before.embeddings:
        notes += _write_embeddings(review_set, run, key, rows, progress, all_panels)
    if state.photographs != before.photographs:
        duplicates = near_duplicates(run.near_duplicates, records, dataset.records, progress)
        _write_duplicates(review_set, key, rows, records, duplicates)
        notes += duplicates.notes()
    if state.text != before.text:
        without = write_text_index(review_set, key, rows.samples, text_model)
        state.text = None if without else state.text
        notes += without
    if state != before:
        remember(review_set, derived={**memory(review_set).derived, key: state})
    calibration = write_calibrated(review_set, run, key)
    return [*notes, calibration.text()] if calibration.verdicts else notes


def pairs_of(review_set: Any, key: str) -> list[tuple[str, str]]:
    """Return the confusion pairs of the run `key` that `derive` found."""
    return [(first, second) for first, second in _remembered(review_set, key).pairs]


def confusion_pairs(predictions: pa.Table) -> list[list[str]]:
    """Return the pairs of classes that are confused most often, in either direction, the most frequent first. Counts
    held-out images if there are any, because training images are memorised."""
    labels, predicted, splits = (predictions.column(n).to_pylist() for n in ("label", "predicted", "split"))
    held_out = any(split != "train" for split in splits)
    counts = Counter(
        tuple(sorted((label, other)))
        for label, other, split in zip(labels, predicted, splits, strict=True)
        if label and other and label != other and not (held_out and split == "train")
    )
    frequent = sorted(
        (pair for pair in counts if counts[pair] >= MIN_CONFUSIONS), key=lambda pair: (-counts[pair], pair)
    )
    return [list(pair) for pair in frequent[:MAX_PAIRS]]


def _remembered(review_set: Any, key: str) -> DerivedMemory:
    return memory(review_set).derived.get(key, DerivedMemory())


def _embeddings_state(run: RunFolder, table: pa.Table) -> str:
    """Return a fingerprint of the embeddings' files (name, size, time) and of the images' splits."""
    files = [embeddings_path(path) for path in sorted(run.predictions.glob("*.parquet"))]
    stamps = [(path.name, stamp(path)) for path in files]
    return fingerprint(DERIVED_FIELDS, stamps, table.column("id").to_pylist(), table.column("split").to_pylist())


class _Rows(NamedTuple):
    """Predictions that have a sample: their row indices in the table, record ids and sample ids."""

    indices: np.ndarray
    ids: list[str]
    samples: list[str]


def _rows_with_sample(review_set: Any, table: pa.Table) -> _Rows:
    ids = table.column("id").to_pylist()
    sample_of = dict(zip(*review_set.values(["record_id", "id"]), strict=True))
    indices = [index for index, record_id in enumerate(ids) if record_id in sample_of]
    known = [ids[index] for index in indices]
    return _Rows(np.array(indices, dtype=np.int64), known, [sample_of[record_id] for record_id in known])


def _write_embeddings(
    review_set: Any, run: RunFolder, key: str, rows: _Rows, progress: StepProgress | None, all_panels: bool
) -> list[str]:
    try:
        embeddings = read_embeddings(run.predictions)
    except UserError as error:
        return [f"no map of embeddings and no nearest neighbours: {error}"]
    if len(rows.indices) < len(embeddings):
        embeddings = embeddings[rows.indices]
    about = "cosine of the embedding with its nearest neighbour's; high in series of one subject"
    searching = None if progress is None else partial(progress, "searching nearest embeddings")
    nearest = _or_none(nearest_cosines(embeddings, searching))
    _write_values(review_set, rows.samples, {f"{key}_nearest": (nearest, about)})
    _write_map(review_set, key, rows.samples, map_embeddings(embeddings))
    return write_brain_runs(review_set, key, rows.samples, embeddings, all_panels)


def _write_duplicates(
    review_set: Any, key: str, rows: _Rows, records: Sequence[Record], duplicates: Duplicates
) -> None:
    sample_of = dict(zip(rows.ids, rows.samples, strict=True))
    samples = [sample_of[record.id] for record in records]
    splits = np.array([record.split for record in records], dtype=object)
    groups = duplicates.groups()
    first = [records[row].id if row >= 0 else None for row in groups.tolist()]
    values: dict[str, tuple[list[Any], str]] = {
        f"{key}_near_duplicate": (
            _or_none(duplicates.best()),
            f"agreement in detail with the same photograph elsewhere, {DETAIL:g} to 1",
        ),
        f"{key}_leak": (
            _or_none(_leaks(duplicates, groups, splits)),
            "agreement in detail with the same photograph in another split",
        ),
        f"{key}_duplicate_group": (first, "the first image of the same photograph"),
    }
    _write_values(review_set, samples, values)


def _leaks(duplicates: Duplicates, groups: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Return the similarity with the same photograph in another split, NaN if there is none. For an image linked to
    another split only through further images, return its similarity with these."""
    direct, any_split = duplicates.best(splits), duplicates.best()
    in_group: dict[int, set[str]] = {}
    for group, split in zip(groups.tolist(), splits.tolist(), strict=True):
        in_group.setdefault(group, set()).add(split)
    leaked = np.array([group >= 0 and len(in_group[group]) > 1 for group in groups.tolist()], dtype=bool)
    leaks: np.ndarray = np.where(leaked, np.where(np.isnan(direct), any_split, direct), np.nan)
    return leaks


def _write_values(review_set: Any, samples: Sequence[str], fields: Mapping[str, tuple[Sequence[Any], str]]) -> None:
    """Write the columns of `fields`, each with its description, one value for each sample that differs from the stored
    one. Most samples have no near-duplicate, so this takes a tenth of the time."""
    import fiftyone as fo

    def kind(field: str) -> Any:
        return fo.StringField if field.endswith("_group") else fo.FloatField

    add_fields(review_set, {name: {"ftype": kind(name), "description": about} for name, (_, about) in fields.items()})
    for field, (column, _) in fields.items():
        stored = dict(zip(*review_set.exists(field).values(["id", field]), strict=True))
        changed = [pair for pair in zip(samples, column, strict=True) if pair[1] != stored.get(pair[0])]
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
    """Return the brain key of the run's map in the App's embeddings panel."""
    return f"{key}_embeddings"


def _or_none(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
