"""The layout of photographs without labels: every image below the root, whatever its folders are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rsam_app.config import Card
from rsam_app.data.layouts.folder import folders_in, images_below
from rsam_app.data.layouts.ignored import Ignored
from rsam_app.data.layouts.links import list_files_once
from rsam_app.data.layouts.listing import Listing, require_folder
from rsam_app.data.records import Record
from rsam_app.data.split_names import common_split

_DATE = re.compile(r"(19|20)\d\d([-_. ]?(0[1-9]|1[0-2])([-_. ]?(0[1-9]|[12]\d|3[01]))?)?")


def read(card: Card) -> Listing:
    """List every image in the root, at any depth, sorted by path, without a label.

    Hidden files and folders are ignored. Files without an image suffix, files and folders of systems, what matches the
    card's `ignore`, and links to files that are listed already, are counted in the notes. Raises `UserError` if the
    root is a file.
    """
    root = card.root_path
    require_folder(root, "the layout photographs", "Correct `root` in the card.")
    strays: Counter[str] = Counter()
    ignored = Ignored(root, card.ignore)
    records = [Record(inside, root / inside, "", "") for inside in images_below(root, strays, ignored)]
    kept, link_notes = list_files_once(records, card.splits, root)
    notes = [f"{root}: {count} {kind} ignored" for kind, count in sorted(strays.items())]
    return Listing(tuple(kept), (), (*notes, *ignored.notes(), *link_notes))


def names_no_class(folder: Path) -> bool:
    """Return whether the folders in this one cannot be classes: there are none, or all have a date as name, such as
    `2024` or `2024-05-17`, or there is a single one with such folders or none inside."""
    below = folders_in(folder, Ignored(folder, ()))
    if len(below) == 1 and not common_split(below[0].name):
        return names_no_class(below[0]) or are_dates([below[0].name])
    return are_dates([path.name for path in below])


def are_dates(names: Sequence[str]) -> bool:
    """Return whether all names are a year, a month of a year or a day of it, e.g. `2024`, `2024-05`, `20240517`."""
    return all(_DATE.fullmatch(name) for name in names)
