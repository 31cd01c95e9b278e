"""The layout of Stanford Cars (Krause et al., 3dRR 2013): two folders of images, annotations in MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rsam_app.config import Card
from rsam_app.data.layouts.formats.matlab import read_variables, texts
from rsam_app.data.layouts.listing import Listing, inclusive_box, require_file
from rsam_app.data.records import Record
from rsam_app.system.errors import UserError

LAYOUT = "stanford_cars"
ANNOTATIONS = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}


def read(card: Card) -> Listing:
    """List the images in the annotations of both splits, in their order; classes like `AM General Hummer SUV 2000`.

    Splits are `train` and `test`; the annotations of a split that the card does not use may be absent. They and
    `cars_meta.mat` are in `devkit/` or directly in the root. The release was made with MATLAB, so it counts pixels from
    1 and includes the last. Raises `UserError` if a file is missing or damaged.
    """
    root = card.root_path
    meta = _find(root, "cars_meta.mat")
    classes = tuple(texts(read_variables(meta, "class_names")[0], meta, "class_names"))
    records: list[Record] = []
    for split, name in ANNOTATIONS.items():
        if split in card.splits.values():
            path = _find(root, name)
            cars = read_variables(path, "annotations")[0]
            records += [_record(root, path, number, car, split, classes) for number, car in enumerate(cars, start=1)]
    return Listing(tuple(records), classes)


def _find(root: Path, name: str) -> Path:
    beside = root / name
    return beside if beside.is_file() else require_file(root / "devkit" / name, LAYOUT)


def _record(root: Path, path: Path, number: int, car: Any, split: str, classes: tuple[str, ...]) -> Record:
    where = f"{path}, annotation {number}"
    try:
        name, label = car["fname"], int(car["class"])
        if not (isinstance(name, str) and name and label == car["class"]):
            raise TypeError(f"file {name!r}, class {car['class']}")
        box = inclusive_box(*(float(car[f"bbox_{corner}"]) for corner in ("x1", "y1", "x2", "y2")))
    except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
        remedy = "Use cars_test_annos_withlabels.mat" if "class" in str(error) else "Restore the file"
        raise UserError(f"{where}: is not in the release's format ({error}). {remedy}.") from error
    if not 1 <= label <= len(classes):
        raise UserError(f"{where}: class {label} is not one of the {len(classes)} in cars_meta.mat. Restore the files.")
    relative = f"cars_{split}/{name}"
    return Record(id=relative, path=root / relative, label=classes[label - 1], split=split, boxes=(box,))
