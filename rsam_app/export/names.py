"""Names that every file system takes: class folders that keep their name where they can, plain ASCII file names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from rsam_app.data.layouts.folder import SUFFIXES
from rsam_app.export.items import ExportItem

RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{i}" for port in ("COM", "LPT") for i in "123456789¹²³")}
"""Names that Windows keeps for devices, whatever their suffix."""

FOLDER_BYTES = 200
"""File systems stop at 255 bytes; some room stays for what makes a name unique."""

STEM_LETTERS = 80
FORMAT_SUFFIX = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "GIF": ".gif",
    "BMP": ".bmp",
    "WEBP": ".webp",
    "TIFF": ".tif",
}


class UniqueNames:
    """Hands out names that differ also where the file system ignores case or composes letters."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._count: dict[str, int] = {}

    def take(self, stem: str, suffix: str = "") -> str:
        """`stem + suffix`, or `stem-2`, `stem-3`, … where it is taken."""
        key = _folded(stem + suffix)
        name, number = stem + suffix, self._count.get(key, 1)
        while _folded(name) in self._taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._count[key] = number
        self._taken.add(_folded(name))
        return name


def class_folders(labels: Iterable[str]) -> dict[str, str]:
    """A folder name for each class: the class itself wherever every file system takes it, else the nearest safe name.

    Slashes and reserved characters become `_`; leading and trailing dots and spaces go (a name in dots alone would lead
    out of the export, one that starts with a dot would be hidden); names that differ in case alone get a number.
    """
    safe = {label: _folder_name(label) for label in sorted(set(labels))}
    names = UniqueNames()
    unchanged_first = sorted(safe, key=lambda label: (safe[label] != label, label))
    return {label: names.take(safe[label]) for label in unchanged_first}


def class_files(items: Sequence[ExportItem], suffix: str = "") -> tuple[list[str], list[str]]:
    """`SPLIT/CLASS/name` for each item, with another `suffix` than its image's where given, and a note on each class
    whose folder is not called as it."""
    folders = class_folders(item.label for item in items)
    names: dict[tuple[str, str], UniqueNames] = {}
    files = []
    for item in items:
        place_in = (item.record.split, folders[item.label])
        image = item.record.path.with_suffix(suffix) if suffix else item.record.path
        files.append("/".join((*place_in, file_name(image, names.setdefault(place_in, UniqueNames())))))
    renamed = [f"the class {label!r} is in the folder {name!r}" for label, name in folders.items() if label != name]
    return files, renamed


def file_name(image: Path, names: UniqueNames) -> str:
    """A unique ASCII name for a copy of `image`, as near to its own as can be, with the suffix of an image."""
    plain = unicodedata.normalize("NFKD", image.stem).encode("ascii", "ignore").decode()
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", plain)[:STEM_LETTERS].strip("._-") or "image"
    return names.take(f"_{stem}" if _is_device(stem) else stem, _suffix(image))


def _folder_name(label: str) -> str:
    name = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]', "_", label)
    name = name.encode()[:FOLDER_BYTES].decode(errors="ignore").strip(". ") or "_"
    return f"_{name}" if _is_device(name) else name


def _is_device(name: str) -> bool:
    return name.split(".")[0].strip().upper() in RESERVED


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _suffix(image: Path) -> str:
    """The image's own suffix where it is an image's, else that of its content."""
    if image.suffix.lower() in SUFFIXES:
        return image.suffix
    from PIL import Image

    with Image.open(image) as opened:
        return FORMAT_SUFFIX.get(opened.format or "", ".png")
