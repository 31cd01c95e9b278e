"""Writes a run into the review dataset in chunks. Rewriting an unchanged run changes nothing, and the reviewer's work
is never overwritten."""

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
from rsam_app.review.dataset.class_names import open_with_corrections
from rsam_app.review.dataset.enter import enter
from rsam_app.review.dataset.fields import SOFT_MASK, declare_run, has_run, score_fields
from rsam_app.review.dataset.fiftyone_internals import database
from rsam_app.review.dataset.guest import is_guest
from rsam_app.review.dataset.other_folder import refuse_other_folder
from rsam_app.review.dataset.samples import CHUNK, Samples
from rsam_app.review.dataset.schema import check_key, memory, run_keys
from rsam_app.review.dataset.targets import adopt_accepted
from rsam_app.review.writing.row_writer import RowWriter
from rsam_app.review.writing.write_located import forget_located
from rsam_app.review.writing.written_chunks import WrittenChunks, digest_of
from rsam_app.run.corrections import corrections_path
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import PARQUET_ERRORS, SCHEMA, read_batches, require_columns, with_present_names
from rsam_app.run.soft_masks import mask_file, masks_folder
from rsam_app.system.cache.files import lock_file
from rsam_app.system.errors import UserError
from rsam_app.system.files import locked
from rsam_app.system.mongodb.connection import import_fiftyone
from rsam_app.system.progress import Progress, StepProgress

CHUNKS_PER_SAVE = 10
"""Chunks after which the written ones are recorded: at most so many are compared again after an interruption."""


@dataclass
class WriteReport:
    """Result of `write_run`. `added + updated + unchanged` are the rows of predictions whose record exists."""

    dataset: str
    key: str
    added: int = 0
    updated: int = 0
    """Rows that changed an existing sample."""
    unchanged: int = 0
    """Rows whose sample already had the same values."""
    followed: int = 0
    """Samples updated from changed files: path, size, split, boxes or label."""
    kept: int = 0
    """Rectangles that were not overwritten because the reviewer moved them."""
    vanished: list[str] = field(default_factory=list)
    """Records with a sample or a prediction that are no longer in the dataset. Nothing of them is deleted."""
    without_sample: list[str] = field(default_factory=list)
    """Records without a sample in the user's dataset: it was deleted there, or another sample has the same file."""
    notes: list[str] = field(default_factory=list)
    """Messages for the user, such as why a derived field is missing."""


def write_run(
    run: RunFolder,
    dataset: Dataset,
    key: str | None = None,
    progress: Progress | None = None,
    comparing: StepProgress | None = None,
    all_panels: bool = False,
    into: str | None = None,
    text_model: str | None = None,
) -> WriteReport:
    """Write all predictions of `run` into the FiftyOne dataset of `dataset`, then derived fields, views and layout.

    `dataset` is the card's, without corrections. `key` prefixes the run's fields (default: the run's name). Tags,
    edited labels, drawn boxes, moved rectangles and decisions stay, also those made while it writes. After an
    interruption the next call completes the write. Memory does not grow with the predictions, except by the embeddings
    and 1.5 KiB an image for what is compared across all images. `progress` counts rows, `comparing` the search for
    near-duplicates. `all_panels` and `text_model` are the pipeline's. `into` is a dataset of the user's to write into
    instead: no sample is added, and the user's fields, tags and views stay as they are.

    Raises `UserError` if there are no predictions, if the key belongs to another run or the dataset to a card of the
    same name in another folder, or if the dataset's name belongs to one that RSAM did not create; with `into` as
    `enter` does. Runs of one dataset are written one after the other.
    """
    with locked(lock_file("review", into or dataset.name)):
        return _write(run, dataset, check_key(key or run.key), progress, comparing, all_panels, into, text_model)


def _write(
    run: RunFolder,
    dataset: Dataset,
    key: str,
    progress: Progress | None,
    comparing: StepProgress | None,
    all_panels: bool,
    into: str | None,
    text_model: str | None,
) -> WriteReport:
    files = _tables(run)
    table = corrections_path(run.path, dataset.name)
    import_fiftyone()
    refuse_other_folder(database(), dataset, run, key, into)
    host = enter(into, dataset.name, key) if into else None
    review_set, dataset, corrections = open_with_corrections(dataset, table, host)
    if keys := run_keys(review_set):
        adopt_accepted(review_set, keys[0])
    samples, records = Samples(review_set), by_id(dataset.records)
    report = WriteReport(review_set.name, key)
    adopted = samples.adopt_by_path(dataset.records, corrections)
    written = WrittenChunks(review_set, run.path, key)
    writer = RowWriter(samples, key, records, corrections)
    vanished = _write_tables(files, writer, written, progress)
    report.added, report.updated = writer.added, writer.updated
    report.unchanged, report.kept = writer.unchanged, writer.kept
    report.vanished = sorted(vanished | (samples.record_ids() - records.keys()))
    report.without_sample = writer.without_sample
    if report.added or report.updated:
        forget_located(review_set, key)
    report.followed = samples.follow(dataset)
    written.save([name for path in files for name in score_fields(pq.read_schema(path).names)])
    derived = derive(review_set, run, key, dataset, comparing, all_panels, text_model)
    report.notes = [*_notes(review_set, report, adopted), *derived]
    save_views(review_set, key)
    arrange(review_set, key)
    return report


def _notes(review_set: Any, report: WriteReport, adopted: int) -> list[str]:
    notes = []
    if missing := report.without_sample:
        notes.append(f"{len(missing):,} images have no sample of their own in {report.dataset!r}, e.g. {missing[0]}")
    elif adopted and not is_guest(review_set):
        notes.append(f"{adopted:,} samples without a record_id got the id of the image at their path")
    if report.vanished:
        notes.append(
            f"{len(report.vanished):,} images of FiftyOne or of the predictions are not in the dataset now,"
            f" e.g. {report.vanished[0]}; their samples stay as they are"
        )
    return notes


def _write_tables(files: list[Path], writer: RowWriter, written: WrittenChunks, progress: Progress | None) -> set[str]:
    """Write the chunks of these tables that are new; return the ids of rows without a record."""
    done, total = 0, sum(pq.read_metadata(path).num_rows for path in files)
    new, vanished = 0, set()
    samples = writer.samples
    present, names = samples.record_ids(), memory(samples.review_set).class_names
    # A field that was deleted in FiftyOne, or a deleted sample, is written again.
    intact = {path for path in files if has_run(samples.review_set, writer.key, pq.read_schema(path).names)}
    forgot = False
    for path in files:
        declared = False
        for batch in read_batches(path, CHUNK):
            rows, without_record = _with_record(batch, writer)
            rows = with_present_names(rows, names)
            rows = _with_soft_masks(rows, path, writer)
            vanished |= without_record
            digest = digest_of(rows)
            stored = (path.stem, digest) in written
            deleted = stored and not present.issuperset(rows.column("id").to_pylist())
            if deleted and not forgot:
                written.forget_other_runs()
                forgot = True
            if stored and not deleted and path in intact:
                writer.unchanged += len(rows)
            else:
                if not declared:
                    declare_run(writer.samples.review_set, writer.key, rows.schema.names)
                    declared = True
                if new % CHUNKS_PER_SAVE == 0:
                    written.save()
                writer.write(rows)
                new += 1
            written.add(path.stem, digest)
            done += len(batch)
            if progress:
                progress(done, total)
    return vanished


def _with_record(rows: pa.RecordBatch, writer: RowWriter) -> tuple[pa.RecordBatch, set[str]]:
    """Return the rows whose record exists, and the ids of the others."""
    ids = rows.column("id").to_pylist()
    missing = {i for i in ids if i not in writer.records}
    return (rows.filter(pa.array([i not in missing for i in ids])), missing) if missing else (rows, missing)


def _with_soft_masks(rows: pa.RecordBatch, table: Path, writer: RowWriter) -> pa.RecordBatch:
    """Return the rows with the paths of their soft masks, if the run has any or the dataset has the field."""
    folder = masks_folder(table.resolve())
    shown = writer.samples.review_set.has_sample_field(f"{writer.key}_{SOFT_MASK}")
    if not folder.exists() and not shown:
        return rows
    files = [mask_file(folder, record_id) for record_id in rows.column("id").to_pylist()]
    paths = [str(file) if file.exists() else None for file in files]
    return rows.append_column(SOFT_MASK, pa.array(paths, pa.string()))


def _tables(run: RunFolder) -> list[Path]:
    files = sorted(run.predictions.glob("*.parquet"))
    if not files:
        raise UserError(f"{run.predictions}: no predictions. Run `rsam predict {run.path}` first.")
    for path in files:
        try:
            require_columns(pq.read_schema(path), SCHEMA.names)
        except PARQUET_ERRORS as error:
            raise UserError(
                f"{path}: is not a predictions table ({error}). Run `rsam predict {run.path}` again."
            ) from error
    return files
