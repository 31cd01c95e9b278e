"""A CSV manifest: `manifest.csv` beside `images/` and `masks/`, which `layout: manifest` reads with boxes and masks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rsam_app.data.images.masks import read_mask
from rsam_app.data.records import Record
from rsam_app.export.items import ExportItem, Mode, Source, Written
from rsam_app.export.names import UniqueNames, file_name
from rsam_app.export.staging import place

HEADER = ("path", "label", "split", "x", "y", "width", "height", "mask", "group")


def write(items: Sequence[ExportItem], folder: Path, mode: Mode, source: Source) -> Written:
    """Write `folder/manifest.csv`: one row an image, or one for each of its boxes (pixels, as the dataset has them).

    Masks are written anew as PNG, 0 outside and 255 inside, whatever values meant the object before; they are oriented
    as the image is displayed.
    """
    names = UniqueNames()
    files = [f"images/{file_name(item.record.path, names)}" for item in items]
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        for item, file in zip(items, files, strict=True):
            place(item.record.path, folder / file, mode)
            mask = _write_mask(item.record, folder, file)
            for box in item.record.boxes or [("", "", "", "")]:
                writer.writerow([file, item.label, item.record.split, *box, mask, item.record.group])
    return Written(files, "layout: manifest\nroot: '{out}/manifest.csv'")


def _write_mask(record: Record, folder: Path, file: str) -> str:
    if record.mask is None:
        return ""
    from PIL import Image

    # The whole image name stays in the mask's: two images may differ in their suffix alone.
    path = f"masks/{Path(file).name}.png"
    (folder / "masks").mkdir(exist_ok=True)
    Image.fromarray(read_mask(record).astype(np.uint8) * 255).save(folder / path)
    return path
