"""Names that are valid on every file system: class folders close to the class name, plain ASCII file names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from rsam_app.data.layouts.folder import SUFFIXES
from rsam_app.export.items import ExportItem

RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{i}" for port in ("COM", "LPT") for i in "123456789¹²³")}
"""Names that Windows reserves for devices, with any suffix."""

FOLDER_BYTES = 200
"""Longest folder name; file systems allow 255 bytes, and a number may follow that makes the name unique."""

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
    """Names that also differ on file systems that ignore case or compose letters."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._count: dict[str, int] = {}

    def take(self, stem: str, suffix: str = "") -> str:
        """Return `stem + suffix`, or `stem-2`, `stem-3`, … if it is taken."""
        key = _folded(stem + suffix)
        name, number = stem + suffix, self._count.get(key, 1)
        while _folded(name) in self._taken:
            number += 1
            name = f"{stem}-{number}{suffix}"
        self._count[key] = number
        self._taken.add(_folded(name))
        return name


def class_folders(labels: Iterable[str]) -> dict[str, str]:
    """Return a folder name for each class: the class itself if every file system allows it, else a similar safe name.

    Slashes and reserved characters become `_`; leading and trailing dots and spaces are removed (a name of dots would
    leave the export, a leading dot would hide the folder); names that differ only in case get a number.
    """
    safe = {label: _folder_name(label) for label in sorted(set(labels))}
    names = UniqueNames()
    unchanged_first = sorted(safe, key=lambda label: (safe[label] != label, label))
    return {label: names.take(safe[label]) for label in unchanged_first}


def class_files(items: Sequence[ExportItem], suffix: str = "") -> tuple[list[str], list[str]]:
    """Return `SPLIT/CLASS/name` for each item, with its image's suffix or the given one, and a note on each class whose
    folder has another name."""
    folders = class_folders(item.label for item in items)
    names: dict[tuple[str, str], UniqueNames] = {}
    files = []
    for item in items:
        parent = (item.record.split, folders[item.label])
        image = item.record.path.with_suffix(suffix) if suffix else item.record.path
        files.append("/".join((*parent, file_name(image, names.setdefault(parent, UniqueNames())))))
    renamed = [f"the class {label!r} is in the folder {name!r}" for label, name in folders.items() if label != name]
    return files, renamed


def flat_files(items: Sequence[ExportItem], folder: str) -> list[str]:
    """Return `FOLDER/name` for each item."""
    names = UniqueNames()
    return [f"{folder}/{file_name(item.record.path, names)}" for item in items]


def file_name(image: Path, names: UniqueNames) -> str:
    """Return a unique ASCII name for a copy of `image`, close to its own, with the suffix of an image."""
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
    """The suffix of the file, or of its content if the file has no suffix of an image."""
    if image.suffix.lower() in SUFFIXES:
        return image.suffix
    from PIL import Image

    with Image.open(image) as opened:
        return FORMAT_SUFFIX.get(opened.format or "", ".png")
