"""Writing a run into the review dataset: in bulk, in chunks, as often as one likes, and never over a person's work."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsam_app.data.records import Dataset, by_id
from rsam_app.review.analysis.derived_fields import derive
from rsam_app.review.app.layout import arrange
from rsam_app.review.app.saved_views import save_views
from rsam_app.review.dataset.fields import SOFT_MASK, declare_run, score_fields
from rsam_app.review.dataset.samples import CHUNK, Samples
from rsam_app.review.dataset.schema import check_key, create_or_open, memory, run_keys
from rsam_app.review.dataset.targets import adopt_accepted
from rsam_app.review.writing.row_writer import RowWriter
from rsam_app.review.writing.written_chunks import Written, digest_of
from rsam_app.run.corrections import corrections_path, in_force, read_corrections
from rsam_app.run.folder import RunFolder
from rsam_app.run.soft_masks import mask_file, masks_folder
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Progress, StepProgress

REMEMBERED = 10
"""After so many written chunks it is stored that they are: so much at most is compared again after an interruption."""
READ_AHEAD = 2**20
"""Bytes of a table that are read at once: a whole group of rows may be larger than the memory."""


@dataclass
class WriteReport:
    """What `write_run` did. `added + updated + unchanged` are the predictions' rows whose record exists."""

    dataset: str
    key: str
    added: int = 0
    updated: int = 0
    """Rows that changed a sample that was there before."""
    unchanged: int = 0
    """Rows whose sample says the same already."""
    followed: int = 0
    """Samples that followed a changed dataset: path, size, split, boxes or label."""
    kept: int = 0
    """Rectangles that a person had moved and that were therefore not overwritten."""
    vanished: list[str] = field(default_factory=list)
    """Records that have a sample or a prediction but are no longer in the dataset; nothing of them is deleted."""
    notes: list[str] = field(default_factory=list)
    """What a person should know: how it was written, and what could not be derived from the predictions."""


def write_run(
    run: RunFolder,
    dataset: Dataset,
    key: str | None = None,
    progress: Progress | None = None,
    comparing: StepProgress | None = None,
) -> WriteReport:
    """Write all predictions of `run` into the FiftyOne dataset of `dataset`, then its views and its appearance.

    `dataset` is the card's, before corrections: what a person decided is kept beside it. `key` prefixes the run's
    fields (default: the run's name). Written twice, nothing changes twice; tags, edited labels, drawn boxes, moved
    rectangles and decisions stay, also those made while it writes. Interrupted, the next call completes it. Memory does
    not grow with the predictions, but for what is compared across all images: their embeddings, and 1.5 KiB each.
    `comparing` is told how far the search for near-duplicates is: (what, done, total).

    Raises `UserError` where there are no predictions, where the key belongs to another run, and where the dataset's
    name belongs to a FiftyOne dataset of the person's own.
    """
    key = check_key(key or run.key)
    files = _files(run)
    review_set = create_or_open(dataset)
    _check_owner(review_set, run, key)
    if keys := run_keys(review_set):
        adopt_accepted(review_set, keys[0])
    samples, records = Samples(review_set), by_id(dataset.records)
    report = WriteReport(review_set.name, key)
    decided = in_force(read_corrections(corrections_path(run.path, dataset.name)))
    written = Written(review_set, run.path, key)
    writer = RowWriter(samples, key, records, decided)
    gone = _write_files(files, writer, written, report, progress)
    report.added, report.updated, report.kept, report.notes = writer.added, writer.updated, writer.kept, writer.notes
    report.unchanged += writer.same
    report.vanished = sorted(gone | samples.vanished(records))
    report.followed = samples.follow(dataset)
    written.remember([name for path in files for name in score_fields(pq.read_schema(path).names)])
    report.notes = [*report.notes, *derive(review_set, run, key, dataset, comparing)]
    save_views(review_set, key)
    arrange(review_set, key)
    return report


def _write_files(
    files: list[Path], writer: RowWriter, written: Written, report: WriteReport, progress: Progress | None
) -> set[str]:
    """Write what is new in these tables, a chunk of rows at a time; returns the ids that have no record any more."""
    done, total, new, gone = 0, sum(_rows(path) for path in files), 0, set()
    for path in files:
        declared = False
        with pq.ParquetFile(path, buffer_size=READ_AHEAD, pre_buffer=False) as table:
            for batch in table.iter_batches(CHUNK):
                rows, lost = _with_record(batch, writer)
                rows = _with_soft_masks(rows, path, writer)
                gone |= lost
                digest = digest_of(rows)
                if written.holds(path.stem, digest):
                    report.unchanged += len(rows)
                else:
                    if not declared:
                        declare_run(writer.samples.review_set, report.key, rows.schema.names)
                        declared = True
                    if new % REMEMBERED == 0:
                        written.remember()
                    writer.write(rows)
                    written.add(path.stem, digest)
                    new += 1
                done += len(batch)
                if progress:
                    progress(done, total)
    return gone


def _with_record(rows: pa.RecordBatch, writer: RowWriter) -> tuple[pa.RecordBatch, set[str]]:
    """The rows whose record exists, and the ids of the others."""
    ids = rows.column("id").to_pylist()
    lost = {i for i in ids if i not in writer.records}
    return (rows.filter(pa.array([i not in lost for i in ids])), lost) if lost else (rows, lost)


def _with_soft_masks(rows: pa.RecordBatch, table: Path, writer: RowWriter) -> pa.RecordBatch:
    """The rows with the paths of their soft masks, where there are any or the dataset still shows some."""
    folder = masks_folder(table.resolve())
    shown = writer.samples.review_set.has_sample_field(f"{writer.key}_{SOFT_MASK}")
    if not folder.exists() and not shown:
        return rows
    files = [mask_file(folder, record_id) for record_id in rows.column("id").to_pylist()]
    paths = [str(file) if file.exists() else None for file in files]
    return rows.append_column(SOFT_MASK, pa.array(paths, pa.string()))


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
            f"{run.path}: the fields {key}_* of FiftyOne dataset {review_set.name!r} belong to the run {owner}.\n"
            f"Give this run another key: rsam review {run.path} --set review.key=NAME"
        )
