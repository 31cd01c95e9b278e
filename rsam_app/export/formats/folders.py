"""Class folders `SPLIT/CLASS/image`: plain, or as Hugging Face image folder with `SPLIT/metadata.jsonl`.

`datasets.load_dataset("imagefolder", …)` reads the images with all columns of the metadata, `layout: folder` reads
both by their folders.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsam_app.export.items import ExportItem, Mode, Source, Written, note_masks
from rsam_app.export.names import class_files
from rsam_app.export.staging import place_images


def write_imagefolder(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write the images, and `folder/SPLIT/metadata.jsonl`: one line per image with `file_name, label, id`, its
    `rectangle` (cx, cy, width, height in pixels, angle in radians; null without), `rectangle_by` and `boxes` (lists of
    x, y, width, height)."""
    files, renamed = class_files(items)
    place_images(items, files, folder, mode)
    lines: dict[str, list[str]] = defaultdict(list)
    for item, file in zip(items, files, strict=True):
        split, _, name = file.partition("/")
        lines[split].append(json.dumps({"file_name": name, **columns(item)}, ensure_ascii=False))
    for split, of_split in lines.items():
        (folder / split / "metadata.jsonl").write_text("\n".join(of_split) + "\n", encoding="utf-8")
    return Written(files, "datasets.load_dataset('imagefolder', data_dir={out})", (*renamed, *note_masks(items)))


def columns(item: ExportItem) -> dict[str, Any]:
    """Metadata of an item, shared with the Parquet format."""
    return {
        "label": item.label,
        "id": item.record.id,
        "rectangle": list(item.rectangle) if item.rectangle else None,
        "rectangle_by": item.rectangle_by,
        "boxes": [list(box) for box in item.record.boxes],
    }


def write_folder(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write `folder/SPLIT/CLASS/image` for each item; the class is the corrected one."""
    files, renamed = class_files(items)
    place_images(items, files, folder, mode)
    lost = sum(bool(i.record.boxes or i.record.mask) for i in items)
    notes = [f"class folders have no boxes or masks: those of {lost} images are left out"] if lost else []
    return Written(files, "layout: folder\nroot: '{out}'", (*renamed, *notes))
