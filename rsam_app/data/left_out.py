"""Images and masks that a dataset leaves out: a line for the terminal, and lists for `run.json` and data cards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rsam_app.data.records import Skipped

NAMED = 3
"""Left-out files that a line names; the others are only counted."""


class Checked(Protocol):
    """A dataset, or the images of a card, after every file has been checked."""

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Images that cannot be used."""

    @property
    def skipped_masks(self) -> tuple[Skipped, ...]:
        """Masks that cannot be used."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what was assumed or left out."""


def left_out_lines(checked: Checked, root: Path) -> list[str]:
    """Return a line for the images and one for the masks that are left out, with their first names, and the notes.

    Nothing if nothing was left out or assumed.
    """
    images = _line(("image is left out", "images are left out"), listed(checked.skipped, root))
    alone, several = "mask is left out (its image stays)", "masks are left out (their images stay)"
    masks = _line((alone, several), listed(checked.skipped_masks, root))
    return [*images, *masks, *checked.notes]


def listed(skipped: Sequence[Skipped], root: Path) -> list[tuple[str, str]]:
    """Return `(path, reason)` of each left-out file; the path is relative to the card's `root` if it lies inside.

    An image that has no file of its own, such as a row of a Parquet file, is named by its id.
    """
    folder = os.path.abspath(root if root.is_dir() else root.parent)
    return [(s.id or _relative(s.path, folder), s.reason) for s in skipped]


def first_names(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _relative(path: Path, folder: str) -> str:
    absolute = os.path.abspath(path)
    inside = os.path.commonpath([absolute, folder]) == folder
    return Path(os.path.relpath(absolute, folder) if inside else absolute).as_posix()


def _line(what: tuple[str, str], files: list[tuple[str, str]]) -> list[str]:
    if not files:
        return []
    return [f"{len(files):,} {what[len(files) > 1]}: {first_names([f'{path} ({reason})' for path, reason in files])}"]
