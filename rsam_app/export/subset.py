"""Export of a curated subset: checks, the format's writer, data card and checksums, atomically."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rsam_app.export.data_card import write_card, write_checksums, write_records
from rsam_app.export.formats import coco, crops, fiftyone_dataset, folders, manifest, parquet, yolo_obb
from rsam_app.export.items import ExportItem, Mode, Source, Written
from rsam_app.export.staging import refuse_occupied, staged
from rsam_app.system.errors import UserError, suggest
from rsam_app.system.files import nearest_folder

MODES = ("copy", "hardlink", "symlink")


@dataclass(frozen=True)
class Format:
    """An export format."""

    write: Callable[[Sequence[ExportItem], Path, Mode, Source], Written]
    """Arguments: items, the folder to write to, how to place images, and the origin of the items."""
    modes: tuple[str, ...] = MODES
    """How images can be placed; formats that re-encode images, or write them into their own files, can only copy."""
    accepts: Callable[[ExportItem], bool] | None = None
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
    "crops": Format(crops.write, ("copy",), crops.has_crop, "no rectangle inside the image"),
}


@dataclass(frozen=True)
class ExportReport:
    """Summary of an export, with the notes of its data card."""

    out: Path
    format: str
    images: int
    classes: int
    splits: dict[str, int]
    notes: tuple[str, ...]


def export(
    items: Sequence[ExportItem],
    format: str,
    out: Path,
    mode: Mode = "copy",
    *,
    source: Source,
    notes: Sequence[str] = (),
) -> ExportReport:
    """Write a curated subset to the folder `out` in one of `FORMATS`, with data card, `records.csv` and checksums.

    The folder appears when it is complete; a failed export leaves nothing. Images are copied or linked byte for byte.
    `notes` are added to those of the data card. Raises `UserError` for an unknown format or mode, an occupied `out`,
    nothing to export, a missing image, and if the system refuses (disk full, hard link to another disk).
    """
    chosen = check_request(format, out, mode)
    included = [item for item in items if not item.excluded]
    excluded = len(items) - len(included)
    if not included:
        raise _nothing_to_export(source, excluded)
    exported = [item for item in included if chosen.accepts is None or chosen.accepts(item)]
    if not exported:
        raise UserError(
            f"export: all {len(included)} images with the tag {source.tag!r} have {chosen.lacking}.\n"
            "Choose another --format, or run `rsam predict` for their split first."
        )
    _refuse_full_disk(exported, out, mode)
    with staged(out) as partial:
        written = chosen.write(exported, partial, mode, source)
        all_notes = [*written.notes, *notes]
        if len(exported) < len(included):
            all_notes.append(f"{len(included) - len(exported)} images are left out: they have {chosen.lacking}")
        if excluded:
            all_notes.append(
                f"{excluded} images with the tag {source.tag!r} are left out because they were excluded in the review"
            )
        written = replace(written, notes=tuple(all_notes))
        write_records(partial, exported, written.files)
        write_card(partial, out.absolute(), exported, source, (format, mode), written)
        write_checksums(partial)
    splits = dict(Counter(item.record.split for item in exported))
    return ExportReport(out, format, len(exported), len({i.label for i in exported}), splits, written.notes)


def check_request(format: str, out: Path, mode: str) -> Format:
    """The format of that name. Raises `UserError` for an unknown format or mode, and an occupied `out`."""
    chosen = _format(format, mode)
    refuse_occupied(out)
    return chosen


def _refuse_full_disk(items: Sequence[ExportItem], out: Path, mode: str) -> None:
    if mode != "copy":
        return
    files = {item.record.path for item in items}
    needed = sum(path.stat().st_size for path in files if path.is_file())
    usage = shutil.disk_usage(nearest_folder(out))
    if needed > (free := usage.free) and usage.total:  # a file system without blocks has no sizes at all
        raise UserError(
            f"{out}: {len(items):,} images need {needed >> 20:,} MiB, and {free >> 20:,} MiB are free there.\n"
            "Free disk space, or use --mode hardlink or symlink."
        )


def _format(format: str, mode: str) -> Format:
    for kind, value, known in (("format", format, list(FORMATS)), ("mode", mode, list(MODES))):
        if value not in known:
            raise UserError(f"export {kind} {value!r}: unknown.{suggest(value, known)}")
    if mode not in FORMATS[format].modes:
        raise UserError(f"export --mode {mode}: the format {format} writes images into its own files. Use copy.")
    return FORMATS[format]


def _nothing_to_export(source: Source, excluded: int) -> UserError:
    if excluded:
        return UserError(
            f"export: all {excluded} images with the tag {source.tag!r} were excluded in the review.\n"
            "Undo the exclusion in the App and run `rsam apply`, or tag other images."
        )
    return UserError(
        f"export: no image of {source.dataset!r} has the tag {source.tag!r}.\n"
        f"Tag some in the App (select images, tag icon), or run `rsam select {source.run} --tag {source.tag}`."
    )
