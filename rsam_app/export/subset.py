"""One export: checks, a format's writer, and what stands beside every export, all or nothing."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rsam_app.export.data_card import write_card, write_checksums, write_records
from rsam_app.export.formats import coco, crops, fiftyone_dataset, folders, manifest, parquet, yolo_obb
from rsam_app.export.items import ExportItem, Mode, Source, Written
from rsam_app.export.staging import refuse_occupied, staged
from rsam_app.system.errors import UserError

MODES = ("copy", "hardlink", "symlink")


@dataclass(frozen=True)
class Format:
    """A form that an export can take."""

    write: Callable[[Sequence[ExportItem], Path, Mode, Source], Written]
    """Takes items, the folder to write into, how to place images, and where they came from."""
    modes: tuple[str, ...] = MODES
    """How images can be placed; formats that write images anew, or into their own files, can only copy."""
    takes: Callable[[ExportItem], bool] | None = None
    """Which items it can hold; None: all."""
    lacking: str = ""
    """What the other items lack, for the note that counts them."""


FORMATS = {
    "folder": Format(folders.write_folder),
    "manifest": Format(manifest.write),
    "coco": Format(coco.write),
    "yolo-obb": Format(yolo_obb.write),
    "fiftyone": Format(fiftyone_dataset.write),
    "imagefolder": Format(folders.write_imagefolder),
    "parquet": Format(parquet.write, ("copy",)),
    "crops": Format(crops.write, ("copy",), crops.has_crop, "no rectangle inside of them"),
}


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
    records_to_export: Sequence[ExportItem],
    format: str,
    out: Path,
    mode: Mode = "copy",
    *,
    source: Source,
    notes: Sequence[str] = (),
) -> ExportReport:
    """Write a curated subset to the folder `out` in one of `FORMATS`, with data card, `records.csv` and checksums.

    The folder appears when it is whole; nothing is left where writing fails. Images are copied or linked byte for byte.
    `notes` join what the data card says a person should know.
    Raises `UserError` for an unknown format or mode, an `out` that is occupied, nothing to export, a missing image, and
    whatever the system refuses (disk full, hard link to another disk).
    """
    chosen = _format(format, mode)
    refuse_occupied(out)
    included = [item for item in records_to_export if not item.excluded]
    excluded = len(records_to_export) - len(included)
    items = [item for item in included if chosen.takes is None or chosen.takes(item)]
    if not included:
        raise _nothing(source, excluded)
    if not items:
        raise UserError(
            f"export: all {len(included)} images with the tag {source.tag!r} have {chosen.lacking}.\n"
            "Choose another --format, or run `rsam predict` for their split first."
        )
    with staged(out) as partial:
        written = chosen.write(items, partial, mode, source)
        said = [*written.notes, *notes]
        if len(items) < len(included):
            said.append(f"{len(included) - len(items)} images are left out: they have {chosen.lacking}")
        if excluded:
            said.append(f"{excluded} images with the tag {source.tag!r} are left out because a person excluded them")
        written = replace(written, notes=tuple(said))
        write_records(partial, items, written.files)
        write_card(partial, out.absolute(), items, source, (format, mode), written)
        write_checksums(partial)
    splits = dict(Counter(item.record.split for item in items))
    return ExportReport(out, format, len(items), len({i.label for i in items}), splits, written.notes)


def _format(format: str, mode: str) -> Format:
    for kind, value, known in (("format", format, list(FORMATS)), ("mode", mode, list(MODES))):
        if value not in known:
            close = difflib.get_close_matches(value, known, n=1, cutoff=0.4)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UserError(f"export {kind} {value!r}: unknown.{hint} Known: {', '.join(known)}.")
    if mode not in FORMATS[format].modes:
        raise UserError(f"export --mode {mode}: the format {format} writes images into files of its own. Use copy.")
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
