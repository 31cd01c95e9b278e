"""The layout of Oxford-IIIT Pet (Parkhi et al., CVPR 2012), for the release or a part of it."""

from __future__ import annotations

from pathlib import Path

from rsam_app.config import Card
from rsam_app.data.layouts.formats.pascal_voc import voc_boxes
from rsam_app.data.layouts.formats.text_table import Row, keyed, read_rows
from rsam_app.data.layouts.listing import Listing, require_file
from rsam_app.data.records import Record
from rsam_app.system.errors import UserError

LAYOUT = "oxford_iiit_pet"
FOREGROUND = 1
"""A trimap's value for the animal; 2 is background, 3 the undecided border between them."""


def read(card: Card) -> Listing:
    """List the images of `annotations/trainval.txt` and `test.txt`; other images are ignored.

    Splits are `trainval` and `test`; classes are breeds by their official number, named like the files (`Abyssinian`,
    `american_bulldog`). Boxes are heads (none to several), masks are trimaps (if there is one). The release counts
    pixels as VOC does: of 690 boxes the smallest corner is 1 (except for one that rescaling rounded down), the largest
    is the image's width. Raises `UserError` if the files disagree.
    """
    root = card.root_path
    lists = {split: require_file(root / "annotations" / f"{split}.txt", LAYOUT) for split in ("trainval", "test")}
    rows = {split: read_rows(path, columns=4) for split, path in lists.items()}
    keyed([row for split in rows.values() for row in split])
    records: list[Record] = []
    numbers: dict[int, str] = {}
    for split, listed in rows.items():
        for row in listed:
            record = _record(root, row, split)
            known = numbers.setdefault(row.integer(1), record.label)
            if known != record.label:
                clash = f"class {row.cells[1]} is {record.label!r} here and {known!r} above"
                raise UserError(f"{row.where}: {clash}. Restore the file.")
            records.append(record)
    return Listing(tuple(records), tuple(dict.fromkeys(numbers[number] for number in sorted(numbers))))


def _record(root: Path, row: Row, split: str) -> Record:
    name = row.cells[0]
    breed, _, number = name.rpartition("_")
    if not breed or not number:
        raise UserError(f"{row.where}: {name!r} is not BREED_NUMBER. Restore the file.")
    boxes = root / "annotations" / "xmls" / f"{name}.xml"
    trimap = root / "annotations" / "trimaps" / f"{name}.png"
    return Record(
        id=f"images/{name}.jpg",
        path=root / "images" / f"{name}.jpg",
        label=breed,
        split=split,
        boxes=voc_boxes(boxes) if boxes.exists() else (),
        mask=trimap if trimap.exists() else None,
        mask_values=(FOREGROUND,),
    )
