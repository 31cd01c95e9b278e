"""Files and folders that are ignored: those that systems make beside the data, and those that the card names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from fnmatch import translate
from pathlib import Path, PurePosixPath

SYSTEM = (
    "@eaDir",
    "#recycle",
    "__MACOSX",
    ".AppleDouble",
    ".DS_Store",
    "._*",
    ".Spotlight-V100",
    ".Trashes",
    ".fseventsd",
    "lost+found",
    ".Trash-*",
    ".thumbnails",
    "Thumbs.db",
    "desktop.ini",
    "$RECYCLE.BIN",
    "System Volume Information",
)
"""Names of files and folders that NAS devices, macOS, Linux and Windows make; in any case."""

_ANY_SYSTEM = re.compile("|".join(map(translate, SYSTEM)), re.IGNORECASE)


def is_of_system(name: str) -> bool:
    """Return whether a file or folder of that name is made by a system rather than part of the data."""
    return _ANY_SYSTEM.match(name) is not None


class Ignored:
    """Decides what is ignored below a folder, and counts it; each path once, however often it is asked about.

    `patterns` are the card's globs. One matches a name, at any depth, or a path relative to the folder.
    """

    def __init__(self, folder: Path, patterns: Sequence[str]) -> None:
        self.folder = folder
        self._patterns = [(pattern, re.compile(translate(pattern))) for pattern in patterns]
        self._found: dict[str, set[str]] = defaultdict(set)

    def __contains__(self, path: Path) -> bool:
        """Return whether this path is ignored; its parents are not considered."""
        if is_of_system(path.name):
            pattern = next(p for p in SYSTEM if re.match(translate(p), path.name, re.IGNORECASE))
            return self._count(f"{pattern} of the system", path.as_posix())
        return bool(self._patterns) and self._by_card(path.relative_to(self.folder).as_posix())

    def lists(self, path: str) -> bool:
        """Return whether the card's globs match a listed POSIX path or one of its folders."""
        parts = PurePosixPath(path)
        return any(self._by_card(p.as_posix(), path) for p in (parts, *parts.parents[:-1]))

    def notes(self) -> list[str]:
        """Return a note with the number of ignored files and folders for each pattern."""
        return [f"{self.folder}: {len(paths):,} {what} ignored" for what, paths in sorted(self._found.items())]

    def _by_card(self, relative: str, counted: str = "") -> bool:
        name = relative.rpartition("/")[2]
        for pattern, matcher in self._patterns:
            if matcher.match(name) or matcher.match(relative):
                return self._count(f"{pattern!r} (`ignore` in the card)", counted or relative)
        return False

    def _count(self, what: str, path: str) -> bool:
        self._found[what].add(path)
        return True
