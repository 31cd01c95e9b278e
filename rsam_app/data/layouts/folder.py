"""The layout of class folders: `root/SPLIT/CLASS/image`, or `root/CLASS/image` without splits."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rsam_app.config import Card
from rsam_app.data.layouts.ignored import Ignored
from rsam_app.data.layouts.links import list_files_once
from rsam_app.data.layouts.listing import Listing
from rsam_app.data.left_out import first_names
from rsam_app.data.records import Record
from rsam_app.data.split_names import common_split, recognise_splits
from rsam_app.system.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"})
"""The suffixes of image files, in upper or lower case."""
OTHER_IMAGES = frozenset(
    [
        ".heic",
        ".heif",
        ".avif",
        ".jp2",
        ".jxl",
        ".jfif",
        ".jpe",
        ".svg",
        ".psd",
        ".raw",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
        ".orf",
        ".rw2",
        ".raf",
        ".eps",
        ".pdf",
        ".ico",
    ]
)
"""Suffixes of images that are not read."""


def read(card: Card) -> Listing:
    """List every image in a class folder, at any depth, sorted by path; classes are the folders' names, sorted.

    If a folder directly in the root has a name from the card's `splits`, or a common form of one such as `Train`, those
    folders are splits; otherwise they are classes and there are no splits. Hidden files and folders are ignored. Files
    without an image suffix, images outside a class folder, files and folders of systems, what matches the card's
    `ignore`, and links to files that are listed already, are counted in the notes. Raises `UserError` for a class
    folder without an image, for one that looks like a split or has splits inside, and if there is neither a class
    folder nor a folder of unlabelled images.
    """
    root = card.root_path
    if not root.is_dir():
        raise UserError(
            f"{root}: is a file; the layout folder needs a folder of class folders. Correct `root` in the card."
        )
    ignored = Ignored(root, card.ignore)
    below = [folder for folder in folders_in(root, ignored) if not _is_unlabelled(folder, card)]
    splits, _ = recognise_splits(card.name, card.splits, [folder.name for folder in below])
    in_splits = _are_splits(root, below, card, ignored)
    unlabelled_here = card.unlabelled_path is not None and card.unlabelled_path.resolve() == root.resolve()
    strays: Counter[str] = Counter(() if unlabelled_here else _strays(root, ignored))
    records: list[Record] = []
    filled: dict[str, bool] = {}
    for split in below if in_splits else [root]:
        strays.update(_strays(split, ignored) if in_splits else ())
        for class_folder in folders_in(split, ignored) if in_splits else below:
            _refuse_splits_inside(root, class_folder, card, ignored)
            images = list(_images(class_folder, strays, ignored))
            name = split.name if in_splits else ""
            records += [Record(_relative(root, path), path, class_folder.name, name) for path in images]
            # A split that the card does not name is listed only for a note; its empty folders are not classes.
            if not in_splits or split.name in splits.values():
                filled[class_folder.name] = filled.get(class_folder.name, False) or bool(images)
    kinds = [f"{n} {kind} ignored" for kind, n in sorted(strays.items())]
    _refuse_empty(root, filled, kinds, any_unlabelled=card.unlabelled_path is not None)
    kept, link_notes = list_files_once(records, splits, root)
    linked = sorted({r.label for r in records} - {r.label for r in kept})
    if linked:
        link_notes.append(f"class folders with nothing but such links are not classes: {first_names(linked)}")
    notes = [f"{root}: {kind}" for kind in kinds]
    return Listing(tuple(kept), tuple(sorted(filled.keys() - linked)), (*notes, *ignored.notes(), *link_notes))


def images_below(folder: Path, strays: Counter[str], ignored: Ignored) -> list[str]:
    """Return the images in a folder, at any depth, as sorted relative POSIX paths.

    Files without an image suffix are counted in `strays`, those of systems and of the card's `ignore` in `ignored`.
    Hidden files and folders are ignored. Raises `UserError` for a name that is not UTF-8.
    """
    return sorted(_relative(folder, path) for path in _images(folder, strays, ignored))


def _are_splits(root: Path, below: list[Path], card: Card, ignored: Ignored) -> bool:
    """Return whether the folders in the root are splits rather than classes.

    They are if one has a split's name in the card; or if all have a common name of a split, or one has and holds
    folders itself. Raises `UserError` for a folder with such a name among class folders.
    """
    if any(folder.name in card.splits.values() for folder in below):
        return True
    similar = [folder for folder in below if common_split(folder.name)]
    if len(similar) == len(below) or any(folders_in(folder, ignored) for folder in similar):
        return bool(similar)
    if similar:
        raise UserError(
            f"{root}: the class folder {similar[0].name!r} has the name of a split.\n"
            f"Move its images to {similar[0]}/CLASS/ if it is one; if it is a class, rename it, e.g. to"
            f" {similar[0].name + '_class'!r}."
        )
    return False


def _refuse_splits_inside(root: Path, class_folder: Path, card: Card, ignored: Ignored) -> None:
    """Raise `UserError` if a class folder has folders named like splits: their images would be mixed."""
    names = card.splits.values()
    inside = [f.name for f in folders_in(class_folder, ignored) if f.name in names or common_split(f.name)]
    if inside:
        where = class_folder.relative_to(root).as_posix()
        raise UserError(
            f"{root}: the class folder {where!r} has the folder {inside[0]!r}, which looks like a split"
            " and would be mixed with others.\n"
            f"Move its images to {root}/{inside[0]}/{class_folder.name}/, or rename it; if {class_folder.name!r} is not"
            " a class, correct `root` in the card: it is too high."
        )


def _is_unlabelled(folder: Path, card: Card) -> bool:
    """Return whether this folder in the root is the card's folder of unlabelled images."""
    return card.unlabelled_path is not None and folder.resolve() == card.unlabelled_path.resolve()


def folders_in(parent: Path, ignored: Ignored) -> list[Path]:
    """Return the folders in a folder, sorted, but those that are hidden or ignored."""
    return sorted(p for p in parent.iterdir() if p not in ignored and p.is_dir() and not p.name.startswith("."))


def _strays(parent: Path, ignored: Ignored) -> Iterator[str]:
    for path in parent.iterdir():
        if path not in ignored and not path.name.startswith(".") and not path.is_dir():
            yield "images outside a class folder" if path.suffix.lower() in SUFFIXES else "files outside a class folder"


def _images(folder: Path, strays: Counter[str], ignored: Ignored) -> Iterator[Path]:
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(parent)
        if real in seen:  # a link back to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if Path(parent, f) not in ignored and not f.startswith("."))
        for path in sorted(p for f in files if (p := Path(parent, f)) not in ignored and not f.startswith(".")):
            if path.suffix.lower() in SUFFIXES:
                yield path
            else:
                strays[f"files without an image suffix{_ending(path)}"] += 1


def _ending(path: Path) -> str:
    """The ending of an ignored file, in brackets, and the remedy if it is that of an image."""
    ending = path.suffix.lower()
    remedy = ": convert them to .jpg or .png" if ending in OTHER_IMAGES else ""
    return f" ({ending}{remedy})" if ending else ""


def _raise(error: OSError) -> None:
    raise error


def _relative(root: Path, path: Path) -> str:
    relative = path.relative_to(root).as_posix()
    if sys.getfilesystemencoding() != "utf-8" and not relative.isascii():
        raise UserError(
            f"{root}: this process reads the file name {os.fsencode(relative)!r} as {sys.getfilesystemencoding()}.\n"
            "Set PYTHONUTF8=1, or a locale with UTF-8 such as LC_ALL=C.UTF-8."
        )
    try:
        relative.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{root}: the file name {os.fsencode(relative)!r} is not UTF-8. Rename the file.") from error
    return relative


def _refuse_empty(root: Path, filled: dict[str, bool], ignored: list[str], any_unlabelled: bool) -> None:
    empty = sorted(name for name, has_images in filled.items() if not has_images)
    if empty:
        raise UserError(
            f"{root}: the class folder {empty[0]!r} has no image ({len(empty)} such folders"
            f"{''.join(f'; {kind}' for kind in ignored)}).\n"
            f"Add images to it ({', '.join(sorted(SUFFIXES))}), or remove the folder."
        )
    if not filled and not any_unlabelled:
        raise UserError(
            f"{root}: has no class folders. Expected {root}/CLASS/image.jpg or {root}/SPLIT/CLASS/image.jpg."
        )
