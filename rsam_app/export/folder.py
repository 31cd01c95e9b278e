"""Class folders: `SPLIT/CLASS/image`, which `layout: folder` and most training scripts read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rsam_app.export.item import ExportItem, Mode, Source, Written
from rsam_app.export.media import place
from rsam_app.export.names import UniqueNames, class_folders, file_name


def write(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write `folder/SPLIT/CLASS/image` for each item; the class is the corrected one."""
    folders = class_folders(item.label for item in items)
    names: dict[tuple[str, str], UniqueNames] = {}
    files = []
    for item in items:
        place_in = (item.record.split, folders[item.label])
        name = file_name(item.record.path, names.setdefault(place_in, UniqueNames()))
        files.append("/".join((*place_in, name)))
        place(item.record.path, folder / files[-1], mode)
    renamed = [f"the class {label!r} is in the folder {name!r}" for label, name in folders.items() if label != name]
    lost = sum(bool(i.record.boxes or i.record.mask) for i in items)
    notes = [f"class folders hold no boxes and masks: those of {lost} images are left out"] if lost else []
    return Written(files, "layout: folder\nroot: '{out}'", (*renamed, *notes))
