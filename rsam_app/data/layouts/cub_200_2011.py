"""The layout of Caltech-UCSD Birds-200-2011 (Wah et al., CNS-TR-2011-001), of the whole release or of a part of it."""

from __future__ import annotations

from pathlib import Path

from rsam_app.config import Card
from rsam_app.data.layouts.listing import Listing, require_file
from rsam_app.data.layouts.tables import Row, keyed, read_rows
from rsam_app.data.records import Box, Record
from rsam_app.errors import UserError

LAYOUT = "cub_200_2011"


def read(card: Card) -> Listing:
    """What `images.txt` lists, in its order; splits `train` and `test`; classes such as `001.Black_footed_Albatross`.

    A box `x y width height` is taken as continuous pixel edges, unclipped: x runs from 0 in the release, and 14 boxes
    of its first 50 classes reach past the edge. `bounding_boxes.txt` may be absent, or lack some images. Classes
    without an image are noted and dropped, so that a part of the release is a data set of its own. Raises `UserError`
    where the files disagree.
    """
    root = card.root_path
    images, classes, labels, training = (
        keyed(read_rows(require_file(root / name, LAYOUT), columns=2))
        for name in ("images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt")
    )
    keyed(list(images.values()), column=1)
    boxes_file = root / "bounding_boxes.txt"
    boxes = keyed(read_rows(boxes_file, columns=5)) if boxes_file.exists() else {}
    records = []
    for key, row in images.items():
        label = _matching(
            classes, _matching(labels, key, row, root / "image_class_labels.txt").cells[1], row, root / "classes.txt"
        )
        relative = f"images/{row.cells[1]}"
        records.append(
            Record(
                id=relative,
                path=root / relative,
                label=label.cells[1],
                split=_split(_matching(training, key, row, root / "train_test_split.txt")),
                boxes=(_box(boxes[key]),) if key in boxes else (),
            )
        )
    used = {r.label for r in records}
    names = tuple(row.cells[1] for row in classes.values())
    absent = [name for name in names if name not in used]
    notes = (
        (f"{len(absent)} classes of classes.txt have no image and are left out, e.g. {absent[0]}",) if absent else ()
    )
    return Listing(tuple(records), tuple(name for name in names if name in used), notes)


def _matching(table: dict[str, Row], key: str, image: Row, path: Path) -> Row:
    if key not in table:
        raise UserError(f"{path}: no row {key!r}, which {image.where} ({image.cells[1]}) needs. Restore the file.")
    return table[key]


def _split(row: Row) -> str:
    if row.cells[1] not in ("0", "1"):
        raise UserError(f"{row.where}: {row.cells[1]!r} is neither 1 (train) nor 0 (test). Restore the file.")
    return "train" if row.cells[1] == "1" else "test"


def _box(row: Row) -> Box:
    x, y, width, height = (row.number(column) for column in (1, 2, 3, 4))
    if not (width > 0 and height > 0):
        raise UserError(f"{row.where}: the box is {width} x {height} pixels, expected more than 0. Restore the file.")
    return x, y, width, height
