"""The layout of Oxford Flowers-102 (Nilsback and Zisserman, ICVGIP 2008)."""

from __future__ import annotations

from pathlib import Path

from rsam_app.config import Card
from rsam_app.data.layouts.blue_background import flower_masks
from rsam_app.data.layouts.flower_names import FLOWERS
from rsam_app.data.layouts.listing import Listing, require_file
from rsam_app.data.layouts.matlab import read_variables, whole_numbers
from rsam_app.data.records import Record
from rsam_app.errors import UserError

LAYOUT = "oxford_flowers_102"
OPTIONS = {"masks": ("segmim",)}
SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}


def read(card: Card) -> Listing:
    """What `setid.mat` lists, with its three splits; classes by official number, named in English.

    With the option `masks: segmim`, masks are made from the release's segmentations, once, into the cache. They were
    computed by its authors' method, not drawn: good to look at, not the truth. Raises `UserError` where a file is
    missing or damaged.
    """
    root = card.root_path
    labels_file, splits_file = (require_file(root / name, LAYOUT) for name in ("imagelabels.mat", "setid.mat"))
    labels = whole_numbers(read_variables(labels_file, "labels")[0], labels_file, "labels")
    variables = read_variables(splits_file, *SPLITS.values())
    records: list[Record] = []
    for (split, name), variable in zip(SPLITS.items(), variables, strict=True):
        for number in whole_numbers(variable, splits_file, name):
            records.append(_record(root, number, labels, split, splits_file))
    if card.options.get("masks"):
        records = flower_masks(root / "segmim", records)
    return Listing(tuple(records), FLOWERS)


def _record(root: Path, number: int, labels: list[int], split: str, splits_file: Path) -> Record:
    if not 1 <= number <= len(labels):
        raise UserError(f"{splits_file}: image {number} has no label in imagelabels.mat. Restore the files.")
    label = labels[number - 1]
    if not 1 <= label <= len(FLOWERS):
        raise UserError(f"{root / 'imagelabels.mat'}: class {label} is none of {len(FLOWERS)}. Restore the file.")
    relative = f"jpg/image_{number:05d}.jpg"
    return Record(id=relative, path=root / relative, label=FLOWERS[label - 1], split=split)
