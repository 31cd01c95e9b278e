"""CSV manifest: `manifest.csv` beside `images/` and `masks/`; `layout: manifest` reads it with boxes and masks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rsam_app.data.images.masks import read_mask
from rsam_app.data.records import Record
from rsam_app.export.items import ExportItem, Mode, Source, Written
from rsam_app.export.names import flat_files
from rsam_app.export.staging import place_images
from rsam_app.system.spreadsheets import csv_cell

HEADER = ("path", "label", "split", "x", "y", "width", "height", "mask", "group")


def write(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write `folder/manifest.csv`: one row per image, or one per box (pixels, as in the dataset).

    Text that a spreadsheet would take for a formula gets a leading `'`, which the layout removes. Masks are converted
    to PNG, 0 outside and 255 inside, oriented as the image is displayed.
    """
    files = flat_files(items, "images")
    place_images(items, files, folder, mode)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        for item, file in zip(items, files, strict=True):
            mask = _write_mask(item.record, folder, file)
            for box in item.record.boxes or [("", "", "", "")]:
                row = [file, item.label, item.record.split, *box, mask, item.record.group]
                writer.writerow(map(csv_cell, row))
    return Written(files, "layout: manifest\nroot: '{out}/manifest.csv'")


def _write_mask(record: Record, folder: Path, file: str) -> str:
    if record.mask is None:
        return ""
    from PIL import Image

    # The mask's name contains the image's suffix: two images may differ only in that.
    path = f"masks/{Path(file).name}.png"
    (folder / "masks").mkdir(exist_ok=True)
    Image.fromarray(read_mask(record).astype(np.uint8) * 255).save(folder / path)
    return path
