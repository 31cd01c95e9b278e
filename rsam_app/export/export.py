"""One export: checks, a format's writer, and what stands beside every export, all or nothing."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rsam_app.errors import UserError
from rsam_app.export import coco, fiftyone_dataset, folder, manifest
from rsam_app.export.data_card import write_card, write_checksums, write_records
from rsam_app.export.item import ExportItem, Mode, Source, Written
from rsam_app.export.staging import refuse_occupied, staged

FORMATS: dict[str, Callable[[Sequence[ExportItem], Path, Mode, Source], Written]] = {
    "folder": folder.write,
    "manifest": manifest.write,
    "coco": coco.write,
    "fiftyone": fiftyone_dataset.write,
}
"""Writers by format: items, the folder to write into, how to place images, where they came from."""

MODES = ("copy", "hardlink", "symlink")


@dataclass(frozen=True)
class ExportReport:
    """What was exported, and what a person should know about it."""

    out: Path
    format: str
    images: int
    classes: int
    splits: dict[str, int]
    notes: tuple[str, ...]


def export(
    records_to_export: Sequence[ExportItem], format: str, out: Path, mode: Mode = "copy", *, source: Source
) -> ExportReport:
    """Write a curated subset to the folder `out` in one of `FORMATS`, with data card, `records.csv` and checksums.

    The folder appears when it is whole; nothing is left where writing fails. Images are copied or linked byte for byte.
    Raises `UserError` for an unknown format or mode, an `out` that is occupied, nothing to export, a missing image, and
    whatever the system refuses (disk full, hard link to another disk).
    """
    write = _writer(format, mode)
    refuse_occupied(out)
    items = [item for item in records_to_export if not item.excluded]
    excluded = len(records_to_export) - len(items)
    if not items:
        raise _nothing(source, excluded)
    with staged(out) as partial:
        written = write(items, partial, mode, source)
        if excluded:
            note = f"{excluded} images with the tag {source.tag!r} are left out because a person excluded them"
            written = Written(written.files, written.reading, (*written.notes, note))
        write_records(partial, items, written.files)
        write_card(partial, out.absolute(), items, source, (format, mode), written)
        write_checksums(partial)
    splits = dict(Counter(item.record.split for item in items))
    return ExportReport(out, format, len(items), len({i.label for i in items}), splits, written.notes)


def _writer(format: str, mode: str) -> Callable[[Sequence[ExportItem], Path, Mode, Source], Written]:
    for kind, value, known in (("format", format, list(FORMATS)), ("mode", mode, list(MODES))):
        if value not in known:
            close = difflib.get_close_matches(value, known, n=1, cutoff=0.4)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UserError(f"export {kind} {value!r}: unknown.{hint} Known: {', '.join(known)}.")
    return FORMATS[format]


def _nothing(source: Source, excluded: int) -> UserError:
    if excluded:
        return UserError(
            f"export: all {excluded} images with the tag {source.tag!r} were excluded by a person.\n"
            "Take the exclusion back in the App and run `rsam apply`, or tag other images."
        )
    return UserError(
        f"export: no image of {source.dataset!r} has the tag {source.tag!r}.\n"
        f"Tag some in the App (select images, tag icon), or run `rsam select {source.run} --tag {source.tag}`."
    )
