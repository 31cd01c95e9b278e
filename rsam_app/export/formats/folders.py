"""Hugging Face image folder: `SPLIT/CLASS/image` beside `SPLIT/metadata.jsonl`, and a dataset card.

`datasets.load_dataset("imagefolder", …)` reads images with all columns of the metadata, and our `layout: folder` the
same images by their folders.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsam_app.export.items import ExportItem, Mode, Source, Written
from rsam_app.export.names import class_files
from rsam_app.export.staging import place


def write_imagefolder(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write `folder/SPLIT/metadata.jsonl`: a line an image with `file_name, label, id`, its `rectangle` (cx, cy, width,
    height in pixels, angle in radians; null without), `rectangle_by` and `boxes` (lists of x, y, width, height)."""
    files, renamed = class_files(items)
    lines: dict[str, list[str]] = defaultdict(list)
    for item, file in zip(items, files, strict=True):
        place(item.record.path, folder / file, mode)
        split, _, name = file.partition("/")
        lines[split].append(json.dumps({"file_name": name, **columns(item)}, ensure_ascii=False))
    for split, of_split in lines.items():
        (folder / split / "metadata.jsonl").write_text("\n".join(of_split) + "\n", encoding="utf-8")
    masks = sum(item.record.mask is not None for item in items)
    notes = [f"the masks of {masks} images are left out; the format manifest has them"] if masks else []
    return Written(files, "datasets.load_dataset('imagefolder', data_dir={out})", (*renamed, *notes))


def columns(item: ExportItem) -> dict[str, Any]:
    """What is told of an item beside its image."""
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
    for item, file in zip(items, files, strict=True):
        place(item.record.path, folder / file, mode)
    lost = sum(bool(i.record.boxes or i.record.mask) for i in items)
    notes = [f"class folders hold no boxes and masks: those of {lost} images are left out"] if lost else []
    return Written(files, "layout: folder\nroot: '{out}'", (*renamed, *notes))
