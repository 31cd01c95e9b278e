"""Writing a run into the review data set: in bulk, in chunks, as often as one likes, and never over a person's work."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsam_app.corrections import corrections_path, in_force, read_corrections
from rsam_app.data.records import DataSet, Record, by_id
from rsam_app.errors import UserError
from rsam_app.review.appearance import arrange
from rsam_app.review.dataset import FORMAT, check_key, create_or_open, memory, remember, run_keys
from rsam_app.review.derived import derive
from rsam_app.review.fields import declare_run, run_values, score_fields
from rsam_app.review.samples import CHUNK, Decided, Samples
from rsam_app.review.targets import adopt_accepted
from rsam_app.review.touched import carry_over, read_touched
from rsam_app.review.views import save_views
from rsam_app.run_folder import RunFolder, fingerprint

Progress = Callable[[int, int], None]
"""Called with how many of the rows that changed are done, and how many there are."""


@dataclass
class WriteReport:
    """What `write_run` did. `added + updated + unchanged` are the predictions' rows whose record exists."""

    dataset: str
    key: str
    added: int = 0
    updated: int = 0
    """Rows written to a sample that was there before."""
    unchanged: int = 0
    """Rows of predictions files that are as they were when they were last written."""
    followed: int = 0
    """Samples that followed a changed data set: path, size, split, boxes or label."""
    kept: int = 0
    """Rectangles that a person had moved and that were therefore not overwritten."""
    vanished: list[str] = field(default_factory=list)
    """Records that have a sample or a prediction but are no longer in the data set; nothing of them is deleted."""
    notes: list[str] = field(default_factory=list)
    """What could not be derived from the predictions, and why."""


def write_run(
    run: RunFolder, dataset: DataSet, key: str | None = None, progress: Progress | None = None
) -> WriteReport:
    """Write all predictions of `run` into the FiftyOne data set of `dataset`, then its views and its appearance.

    `dataset` is the card's, before corrections: what a person decided is kept beside it. `key` prefixes the run's
    fields (default: the run's name). Memory does not grow with the predictions. Written twice, nothing changes twice;
    tags, edited labels, drawn boxes, moved rectangles and decisions stay. Interrupted, the next call completes it.

    Raises `UserError` where there are no predictions, where the key belongs to another run, and where the data set's
    name belongs to a FiftyOne data set of the person's own.
    """
    key = check_key(key or run.key)
    files = _files(run)
    review_set = create_or_open(dataset)
    _check_owner(review_set, run, key)
    if keys := run_keys(review_set):
        adopt_accepted(review_set, keys[0])
    samples = Samples(review_set)
    report = WriteReport(review_set.name, key)
    hashes = {path.stem: _hash(path) for path in files}
    written = memory(review_set).get("runs", {}).get(key, {}).get("predictions", {})
    changed = [path for path in files if written.get(path.stem) != hashes[path.stem]]
    report.unchanged = sum(_rows(path) for path in files if path not in changed)
    decided = in_force(read_corrections(corrections_path(run.path, dataset.name)))
    gone = _write_files(samples, changed, by_id(dataset.records), decided, report, progress)
    report.vanished = sorted(gone | set(samples.vanished(dataset)))
    report.followed = samples.follow(dataset)
    if written != hashes:
        _remember_run(review_set, run, key, hashes, [n for p in files for n in score_fields(pq.read_schema(p).names)])
    report.notes = derive(review_set, run, key)
    save_views(review_set, key)
    arrange(review_set, key)
    return report


def _write_files(
    samples: Samples,
    files: list[Path],
    records: dict[str, Record],
    decided: Decided,
    report: WriteReport,
    progress: Progress | None,
) -> set[str]:
    """Write these tables, a chunk of rows at a time; returns the ids that have no record any more."""
    done, total, gone = 0, sum(_rows(path) for path in files), set()
    for path in files:
        with pq.ParquetFile(path) as table:
            declare_run(samples.review_set, report.key, table.schema_arrow.names)
            for batch in table.iter_batches(CHUNK):
                gone |= _write_rows(samples, report.key, batch, records, decided, report)
                done += len(batch)
                if progress:
                    progress(done, total)
    return gone


def _write_rows(
    samples: Samples, key: str, rows: pa.RecordBatch, records: dict[str, Record], decided: Decided, report: WriteReport
) -> set[str]:
    ids = rows.column("id").to_pylist()
    gone = {i for i in ids if i not in records}
    if gone:
        rows = rows.filter(pa.array([i not in gone for i in ids]))
        ids = [i for i in ids if i not in gone]
    added = samples.add([records[i] for i in ids], decided)
    report.added += added
    report.updated += len(ids) - added
    touched = read_touched(samples, key, ids) if added < len(ids) else {}
    report.kept += sum(hers.moved for hers in touched.values())
    for name, values in run_values(key, rows):
        by_record = dict(zip(ids, values, strict=True))
        samples.set(name, carry_over(name.removeprefix(f"{key}_"), by_record, touched))
    return gone


def _rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _files(run: RunFolder) -> list[Path]:
    files = sorted(run.predictions.glob("*.parquet"))
    if not files:
        raise UserError(f"{run.predictions}: no predictions. Run `rsam predict {run.path}` first.")
    for path in files:
        try:
            pq.read_schema(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(
                f"{path}: is not a predictions table ({error}). Run `rsam predict {run.path}` again."
            ) from error
    return files


def _check_owner(review_set: Any, run: RunFolder, key: str) -> None:
    owner = memory(review_set).get("runs", {}).get(key, {}).get("path")
    if owner and owner != str(run.path.resolve()) and (Path(owner) / "config.yaml").exists():
        raise UserError(
            f"{run.path}: the fields {key}_* of FiftyOne data set {review_set.name!r} belong to the run {owner}.\n"
            f"Give this run another key: rsam review {run.path} --set review.key=NAME"
        )


def _remember_run(review_set: Any, run: RunFolder, key: str, hashes: dict[str, str], scores: list[str]) -> None:
    review_set.reload()  # another run may have been written meanwhile
    runs = {k: v for k, v in memory(review_set).get("runs", {}).items() if k != key}
    runs[key] = {"path": str(run.path.resolve()), "predictions": hashes, "scores": list(dict.fromkeys(scores))}
    remember(review_set, runs=runs)


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return fingerprint(FORMAT, hashlib.file_digest(stream, "sha256").hexdigest())
