"""Recognise how the images in a folder are arranged, by reading them with each layout in turn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rsam_app.config import SHIPPED, Card, load_card
from rsam_app.data.layouts import read_listing
from rsam_app.data.layouts.folder import folders_in, images_below
from rsam_app.data.layouts.huggingface import dataset_files
from rsam_app.data.layouts.ignored import Ignored
from rsam_app.data.layouts.listing import Listing
from rsam_app.data.layouts.manifest import has_manifest_header
from rsam_app.data.layouts.photographs import names_no_class
from rsam_app.data.split_names import Split, common_split
from rsam_app.system.errors import UserError
from rsam_app.system.paths import misread


def recognise(path: Path, name: str) -> tuple[Card, Listing]:
    """Return a card named `name` for a folder of images, a CSV file or a shard, and what it lists.

    Tried in this order: the official releases that this package has a card for, one CSV manifest, JSON in COCO format,
    Hugging Face shards, class folders, photographs without labels. No image is opened. Raises `UserError` if nothing
    fits, or if there is only one class.
    """
    if not path.exists():
        raise UserError(f"{path}: does not exist.{misread(path)} Give the folder of your images.")
    card = _card(path, name)
    listing = read_listing(card)
    if len(listing.classes) == 1 and not any(record.split for record in listing.records):
        only = listing.classes[0]
        raise UserError(
            f"{path}: all images have the class {only!r}; a classifier needs two.\n"
            f"Add a second class. If the images have no labels yet, run `rsam init {path / only}`."
            if card.layout == "folder"
            else f"{path}: all images have the class {only!r}; a classifier needs two. Add a second class."
        )
    return card, listing


def recognise_unlabelled(path: Path, name: str, ignore_folders: bool = False) -> tuple[Card, Listing]:
    """As `recognise`, for images to label: if folders name no class (`names_no_class`), every image below `path` is a
    photograph without a label; with `ignore_folders`, whatever they are called."""
    if path.is_dir() and (ignore_folders or (_card(path, name).layout == "folder" and names_no_class(path))):
        card = Card(name=name, layout="photographs", root=str(path))
        listing = read_listing(card)
        if not listing.records:
            raise UserError(f"{path}: has no images that can be read, at any depth.")
        return card, listing
    return recognise(path, name)


def _card(path: Path, name: str) -> Card:
    if path.is_file():
        return _card_of_file(path, name)
    for release in sorted((SHIPPED / "datasets").glob("*.yaml")):
        card = load_card(release).model_copy(update={"name": name, "root": str(path), "download": []})
        if _is_readable(card):
            return card
    if manifests := [file for file in sorted(path.glob("*.csv")) if has_manifest_header(file)]:
        return Card(name=name, layout="manifest", root=str(_only(manifests)))
    if splits := _coco_splits(path):
        return Card(name=name, layout="inaturalist", root=str(path), splits=splits)
    if dataset_files(path):
        return Card(name=name, layout="huggingface", root=str(path))
    return _card_of_folders(path, name)


def _card_of_file(path: Path, name: str) -> Card:
    if path.suffix.lower() in (".parquet", ".arrow"):
        return Card(name=name, layout="huggingface", root=str(path))
    if path.suffix.lower() == ".csv":
        return Card(name=name, layout="manifest", root=str(path))
    raise UserError(f"{path}: is neither a folder nor a .csv, .parquet or .arrow file. Give the folder of your images.")


def _card_of_folders(path: Path, name: str) -> Card:
    card = Card(name=name, layout="folder", root=str(path))
    if folders_in(path, _nothing(path)):
        return card
    if images_below(path, Counter(), _nothing(path)):
        return card.model_copy(update={"unlabelled": str(path)})
    raise UserError(
        f"{path}: has no images that can be read. Expected {path}/CLASS/image.jpg, {path}/train/CLASS/image.jpg, a CSV"
        " with the columns path,label, or photographs to label."
    )


def _nothing(path: Path) -> Ignored:
    """The files and folders of systems, which are not counted here."""
    return Ignored(path, ())


def _is_readable(card: Card) -> bool:
    try:
        return bool(read_listing(card).records)
    except UserError:
        return False


def _only(files: list[Path]) -> Path:
    if len(files) > 1:
        raise UserError(
            f"{files[0].parent}: has several manifests, {', '.join(file.name for file in files)}.\n"
            f"Give one of them: rsam init {files[0]}"
        )
    return files[0]


def _coco_splits(root: Path) -> dict[Split, str]:
    """Return the names of the JSON files in COCO format by split; empty if there are none with a training split."""
    files = [file for folder in (root, root / "annotations") for file in sorted(folder.glob("*.json"))]
    readable = [
        file.stem
        for file in files
        if _is_readable(Card(name="coco", layout="inaturalist", root=str(root), splits={"train": file.stem}))
    ]
    if len(readable) == 1:
        return {"train": readable[0]}
    splits: dict[Split, str] = {}
    for stem in readable:
        for split in _splits_in(stem):
            if splits.setdefault(split, stem) != stem:
                raise UserError(
                    f"{root}: {splits[split]}.json and {stem}.json both look like {split}.\n"
                    "Move one elsewhere, or write a card yourself with `layout: inaturalist` and `splits`."
                )
    return splits if "train" in splits else {}


def _splits_in(stem: str) -> Iterator[Split]:
    return (split for word in re.findall(r"[a-z]+", stem.lower()) if (split := common_split(word)))
