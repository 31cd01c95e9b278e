"""The lists of Caltech-UCSD Birds and NABirds: one row per image or class, keyed by its first cell."""

from __future__ import annotations

from pathlib import Path

from rsam_app.data.layouts.formats.text_table import Row, keyed, read_rows
from rsam_app.data.layouts.listing import box_of, require_file
from rsam_app.data.records import Record
from rsam_app.geometry.types import Box
from rsam_app.system.errors import UserError


def read_bird_lists(root: Path, layout: str) -> tuple[list[Record], dict[str, str]]:
    """Read the records of `images.txt`, in its order, labelled with their class's key; and the class names by key.

    A box `x y width height` is in continuous pixels and not clipped. `bounding_boxes.txt` may be absent or lack some
    images. Raises `UserError` if the files disagree.
    """
    images, classes, labels, training = (
        keyed(read_rows(require_file(root / name, layout), columns=2))
        for name in ("images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt")
    )
    keyed(list(images.values()), column=1)
    boxes_file = root / "bounding_boxes.txt"
    boxes = keyed(read_rows(boxes_file, columns=5)) if boxes_file.exists() else {}
    records = []
    for key, row in images.items():
        number = _matching(labels, key, row, root / "image_class_labels.txt").cells[1]
        label = _matching(classes, number, row, root / "classes.txt").cells[0]
        split = _split(_matching(training, key, row, root / "train_test_split.txt"))
        relative = f"images/{row.cells[1]}"
        object_boxes = (_box(boxes[key]),) if key in boxes else ()
        records.append(Record(relative, root / relative, label, split, boxes=object_boxes))
    return records, {key: row.cells[1] for key, row in classes.items()}


def _matching(table: dict[str, Row], key: str, image: Row, path: Path) -> Row:
    """Return the row `key` of `table`, read from `path`, for `image`. Raises `UserError` if there is none."""
    if key not in table:
        raise UserError(f"{path}: no row {key!r}, which {image.where} ({image.cells[1]}) needs. Restore the file.")
    return table[key]


def _split(row: Row) -> str:
    if row.cells[1] not in ("0", "1"):
        raise UserError(f"{row.where}: {row.cells[1]!r} is neither 1 (train) nor 0 (test). Restore the file.")
    return "train" if row.cells[1] == "1" else "test"


def _box(row: Row) -> Box:
    try:
        return box_of(row.number(column) for column in (1, 2, 3, 4))
    except ValueError as error:
        raise UserError(f"{row.where}: {error}. Restore the file.") from error
