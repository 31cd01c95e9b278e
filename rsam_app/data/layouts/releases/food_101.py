"""The layout of Food-101 (Bossard et al., ECCV 2014)."""

from __future__ import annotations

from pathlib import Path

from rsam_app.config import Card
from rsam_app.data.layouts.formats.text_table import keyed, read_rows
from rsam_app.data.layouts.listing import Listing, require_file
from rsam_app.data.records import Record
from rsam_app.system.errors import UserError
from rsam_app.system.json_files import read_json

LAYOUT = "food_101"


def read(card: Card) -> Listing:
    """List the images of `meta/train.txt` and `meta/test.txt` (or the `.json` beside them), in their order.

    Splits are `train` and `test`; classes, like `apple_pie`, are in the order of `meta/classes.txt`. There are no
    boxes. Raises `UserError` if a file is missing or damaged.
    """
    root = card.root_path
    classes = keyed(read_rows(require_file(root / "meta" / "classes.txt", LAYOUT), columns=1))
    records = []
    for split in ("train", "test"):
        for name, where in _listed(root / "meta", split):
            label = name.partition("/")[0]
            if label not in classes:
                raise UserError(f"{where}: {label!r} is not in classes.txt. Restore the files.")
            relative = f"images/{name}.jpg"
            records.append(Record(id=relative, path=root / relative, label=label, split=split))
    return Listing(tuple(records), tuple(classes))


def _listed(meta: Path, split: str) -> list[tuple[str, str]]:
    """Return `CLASS/IMAGE` of every image of a split, and the file and line that list it."""
    text, structured = meta / f"{split}.txt", meta / f"{split}.json"
    if text.is_file() or not structured.is_file():
        return [(row.cells[0], row.where) for row in read_rows(require_file(text, LAYOUT), columns=1)]
    try:
        content = read_json(structured)
        return [(str(name), str(structured)) for names in content.values() for name in names]
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{structured}: is not a JSON object of lists ({error}). Restore the file.") from error
