"""The layout of Stanford Dogs (Khosla et al., FGVC 2011): lists in MATLAB files, boxes in Pascal VOC files."""

from __future__ import annotations

from pathlib import Path

from rsam_app.config import Card
from rsam_app.data.layouts.formats.matlab import read_variables, texts, whole_numbers
from rsam_app.data.layouts.formats.pascal_voc import voc_boxes
from rsam_app.data.layouts.listing import Listing, require_file
from rsam_app.data.records import Record
from rsam_app.system.errors import UserError

LAYOUT = "stanford_dogs"
LISTS = {"train": "train_list.mat", "test": "test_list.mat"}


def read(card: Card) -> Listing:
    """List the images of `train_list.mat` and `test_list.mat`, in their order; classes by their official number.

    A class is named like its folder, without the WordNet number (`n02085620-Chihuahua`: `Chihuahua`). Each dog in
    `Annotation/` is a box in VOC coordinates; an image without a file there has none. Raises `UserError` if a file is
    missing or damaged, or if the lists disagree.
    """
    root = card.root_path
    records: list[Record] = []
    names: dict[int, str] = {}
    for split, name in LISTS.items():
        path = require_file(root / name, LAYOUT)
        listed, labels = read_variables(path, "file_list", "labels")
        files, numbers = texts(listed, path, "file_list"), whole_numbers(labels, path, "labels")
        if len(files) != len(numbers):
            raise UserError(f"{path}: lists {len(files):,} files and {len(numbers):,} labels. Restore the file.")
        for file, number in zip(files, numbers, strict=True):
            record = _record(root, path, file, split)
            known = names.setdefault(number, record.label)
            if known != record.label:
                raise UserError(f"{path}: class {number} is {record.label!r} and {known!r}. Restore the files.")
            records.append(record)
    return Listing(tuple(records), tuple(dict.fromkeys(names[number] for number in sorted(names))))


def _record(root: Path, path: Path, file: str, split: str) -> Record:
    folder, _, name = file.partition("/")
    synset, _, breed = folder.partition("-")
    if not (synset and breed and name):
        raise UserError(f"{path}: {file!r} is not SYNSET-BREED/IMAGE. Restore the file.")
    annotation = root / "Annotation" / folder / Path(name).stem
    return Record(
        id=f"Images/{file}",
        path=root / "Images" / file,
        label=breed,
        split=split,
        boxes=voc_boxes(annotation) if annotation.exists() else (),
    )
