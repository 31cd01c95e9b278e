"""The layout of FGVC-Aircraft (Maji et al., arXiv 1306.5151), release 2013b."""

from __future__ import annotations

from pathlib import Path

from rsam_app.config import Card
from rsam_app.data.layouts.formats.text_table import Row, keyed, read_rows
from rsam_app.data.layouts.listing import Listing, inclusive_box, require_file
from rsam_app.data.records import Record
from rsam_app.geometry.types import Box
from rsam_app.system.errors import UserError

LAYOUT = "fgvc_aircraft"
NAMES = {"variant": "variants.txt", "family": "families.txt", "manufacturer": "manufacturers.txt"}
OPTIONS = {"level": tuple(NAMES)}
BANNER = 20
"""Rows at the bottom of every image with its photographer's name; the release asks not to train or test on them."""


def read(card: Card) -> Listing:
    """List the images of `data/images_LEVEL_{train,val,test}.txt`, in that order, with the three official splits.

    The option `level` chooses the classes: 100 `variant`s (the default), 70 `family`s or 30 `manufacturer`s. The
    release counts pixels from 1 and includes the last. Decoding paints over the banner; the files keep it, since it is
    a copyright notice. Raises `UserError` if a file is missing or damaged.
    """
    data = card.root_path / "data"
    level = card.options.get("level", "variant")
    classes = keyed(read_rows(require_file(data / NAMES[level], LAYOUT), columns=1))
    boxes = keyed(read_rows(require_file(data / "images_box.txt", LAYOUT), columns=5))
    records: list[Record] = []
    for split in ("train", "val", "test"):
        path = require_file(data / f"images_{level}_{split}.txt", LAYOUT)
        for row in read_rows(path, columns=2):
            if row.cells[1] not in classes:
                raise UserError(f"{row.where}: {row.cells[1]!r} is not in {NAMES[level]}. Restore the files.")
            records.append(_record(card.root_path, row, split, boxes))
    return Listing(tuple(records), tuple(classes))


def _record(root: Path, row: Row, split: str, boxes: dict[str, Row]) -> Record:
    name, label = row.cells
    relative = f"data/images/{name}.jpg"
    return Record(
        id=relative,
        path=root / relative,
        label=label,
        split=split,
        boxes=(_box(boxes[name]),) if name in boxes else (),
        banner=BANNER,
    )


def _box(row: Row) -> Box:
    try:
        return inclusive_box(*(row.number(column) for column in (1, 2, 3, 4)))
    except ValueError as error:
        raise UserError(f"{row.where}: {error}. Restore the file.") from error
