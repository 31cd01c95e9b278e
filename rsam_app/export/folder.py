"""Class folders: `SPLIT/CLASS/image`, which `layout: folder` and most training scripts read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rsam_app.export.item import ExportItem, Mode, Source, Written
from rsam_app.export.media import place
from rsam_app.export.names import class_files


def write(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write `folder/SPLIT/CLASS/image` for each item; the class is the corrected one."""
    files, renamed = class_files(items)
    for item, file in zip(items, files, strict=True):
        place(item.record.path, folder / file, mode)
    lost = sum(bool(i.record.boxes or i.record.mask) for i in items)
    notes = [f"class folders hold no boxes and masks: those of {lost} images are left out"] if lost else []
    return Written(files, "layout: folder\nroot: '{out}'", (*renamed, *notes))
