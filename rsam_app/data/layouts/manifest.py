"""The layout of one CSV file: `path,label[,split][,x,y,width,height][,mask][,group]`."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath

from rsam_app.config import Card
from rsam_app.data.layouts.formats.csv_table import first_cells, read_csv
from rsam_app.data.layouts.links import list_files_once
from rsam_app.data.layouts.listing import Listing, box_of, require_file
from rsam_app.data.left_out import NAMED, first_names
from rsam_app.data.records import Record
from rsam_app.geometry.types import Box
from rsam_app.system.errors import UserError, nearest

LAYOUT = "manifest"
BOX = ("x", "y", "width", "height")
COLUMNS = ("path", "label", "split", *BOX, "mask", "group")
NOT_BACKGROUND = tuple(range(1, 256))
"""A manifest's masks are 0 outside the object and anything else inside, so that 0/1 and 0/255 both work."""


def read(card: Card) -> Listing:
    """List the rows of the file, in its order; classes sorted by name; splits from its `split` column, if any.

    Paths are relative to the file; they may be absolute or lead out of its folder. Boxes are in continuous pixels of
    the displayed image; blank cells mean no box, and several rows of one path with the same label are several boxes. An
    image with a blank label is unlabelled. Links to files of other rows are counted in the notes. Raises `UserError`,
    which names the row, for anything malformed, contradictory or repeated.
    """
    path = require_file(card.root_path, LAYOUT)
    rows, notes = _read_rows(path)
    joined: dict[str, Record] = {}
    first_line: dict[str, int] = {}
    for number, cells in rows:
        record = _record(path, number, cells)
        if (first := first_line.setdefault(record.id, number)) != number:
            where = f"{path}, lines {first} and {number}: {record.id!r}"
            record = _join(where, joined[record.id], record)
        joined[record.id] = record
    records, link_notes = list_files_once(list(joined.values()), card.splits, None)
    if not joined:
        raise UserError(f"{path}: has no rows below its header. Add one row per image.")
    _refuse_relative_boxes(path, records)
    return Listing(tuple(records), tuple(sorted({r.label for r in records if r.label})), (*notes, *link_notes))


def has_manifest_header(path: Path) -> bool:
    """Return whether a CSV file has the columns `path` and `label`."""
    return {"path", "label"} <= {name.strip().lower() for name in first_cells(path)}


def _read_rows(path: Path) -> tuple[list[tuple[int, dict[str, str]]], tuple[str, ...]]:
    notes: list[str] = []

    def check_header(cells: list[str]) -> list[str]:
        header = [name.lower() for name in cells]
        notes.extend(_check_header(path, header))
        return header

    return read_csv(path, check_header), tuple(notes)


def _check_header(path: Path, header: list[str]) -> tuple[str, ...]:
    repeated = sorted(name for name, times in Counter(header).items() if times > 1)
    missing = [name for name in ("path", "label") if name not in header]
    if set(BOX) & set(header):
        missing += [name for name in BOX if name not in header]
    if repeated or missing:
        problem = f"repeats {', '.join(repeated)}" if repeated else f"lacks {', '.join(missing)}"
        raise UserError(
            f"{path}: the header {','.join(header)!r} {problem}.\n"
            "Expected path,label[,split][,x,y,width,height][,mask][,group], separated by commas."
        )
    ignored = [name for name in header if name not in COLUMNS]
    for column in (c for c in COLUMNS if c not in header):
        if close := nearest(column, ignored, cutoff=0.75):
            raise UserError(f"{path}: unknown column {close!r}. Did you mean {column!r}? If not, rename it.")
    if len(ignored) > NAMED:
        return (f"{path.name}: {len(ignored):,} columns are ignored: {first_names(ignored)}",)
    return tuple(f"{path.name}: the column {name!r} is ignored" for name in ignored)


def _record(path: Path, number: int, cells: dict[str, str]) -> Record:
    for column in ("path", "split"):
        if not cells.get(column, "?") and (column == "path" or cells["label"]):
            raise UserError(f"{path}, line {number}: {column} is blank. Fill it in, or delete the row.")
    folder = path.parent
    image = folder / cells["path"]
    return Record(
        id=_record_id(folder, cells["path"]),
        path=image,
        label=cells["label"],
        split=cells.get("split", ""),
        boxes=_box(path, number, cells),
        mask=folder / cells["mask"] if cells.get("mask") else None,
        mask_values=NOT_BACKGROUND,
        group=cells.get("group", ""),
    )


def _record_id(folder: Path, written: str) -> str:
    """Return the path relative to the manifest's folder, however it is written, so that moving both keeps the id.

    An absolute path outside that folder stays absolute.
    """
    absolute = os.path.abspath(folder / written)
    inside = os.path.abspath(folder)
    if os.path.commonpath([absolute, inside]) == inside or not os.path.isabs(written):
        return PurePosixPath(os.path.relpath(absolute, inside)).as_posix()
    return PurePosixPath(absolute).as_posix()


def _box(path: Path, number: int, cells: dict[str, str]) -> tuple[Box, ...]:
    written = [cells.get(column, "") for column in BOX]
    if not any(written):
        return ()
    try:
        return (box_of(written),)
    except ValueError as error:
        raise UserError(
            f"{path}, line {number}: {','.join(written)!r} is not a box ({error}). Correct or blank its four cells."
        ) from error


def _join(where: str, first: Record, second: Record) -> Record:
    """Join the records of two rows of one image, with the boxes of both."""
    for column in ("label", "split", "mask", "group"):
        before, after = getattr(first, column), getattr(second, column)
        if before != after:
            raise UserError(f"{where} has {column} {str(before)!r} and {str(after)!r}. Keep one of them.")
    if not first.boxes or not second.boxes or second.boxes[0] in first.boxes:
        raise UserError(f"{where} is listed twice without two different boxes. Delete one of the rows.")
    return replace(first, boxes=first.boxes + second.boxes)


def _refuse_relative_boxes(path: Path, records: list[Record]) -> None:
    boxes = [box for record in records for box in record.boxes]
    if boxes and all(0 <= value <= 1 for box in boxes for value in box):
        raise UserError(f"{path}: every box lies between 0 and 1, as if relative to the image. Write boxes in pixels.")
