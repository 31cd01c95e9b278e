"""Links: each file is listed once, by its real path, however many links lead to it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from rsam_app.data.left_out import first_names
from rsam_app.data.records import Record
from rsam_app.data.split_names import Split


class RealPaths:
    """Real paths of files. Each folder is resolved once, so that a file that is no link costs one look at it."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def of(self, path: Path) -> str:
        """Return the real path of a file, which need not exist."""
        if os.path.islink(path):
            return os.path.realpath(path)
        parent, name = os.path.split(path)
        if parent not in self._folders:
            self._folders[parent] = os.path.realpath(parent)
        return os.path.join(self._folders[parent], name)


def list_files_once(
    records: Sequence[Record], splits: Mapping[Split, str], root: Path | None
) -> tuple[list[Record], list[str]]:
    """Return the records without those whose file another one has, in their order, and notes that name the others.

    `splits` maps RSAM's splits to the release's. Of several records of one class, one in `test` stays, else one in
    `val`, else one without a link in its path. Of several classes, the class whose folder in `root` holds the file
    itself keeps it; if none does (links into a store, or no `root`), the label is unknown and all are left out.
    """
    real = RealPaths()
    same: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        same[real.of(record.path)].append(record)
    if len(same) == len(records):
        return list(records), []
    repeated: dict[str, str] = {}
    contradictory: dict[str, str] = {}
    for file, group in same.items():
        kept = _kept(file, group, splits, root) if len(group) > 1 else group[0]
        others = repeated if kept else contradictory
        others |= {r.id: kept.id if kept else file for r in group if r is not kept}
    left_out = repeated.keys() | contradictory.keys()
    return [r for r in records if r.id not in left_out], [*_repeated(repeated), *_contradictory(contradictory)]


def _kept(file: str, group: Sequence[Record], splits: Mapping[Split, str], root: Path | None) -> Record | None:
    """Return the record that keeps a file; None if it has several labels."""
    labelled = [r for r in group if r.label] or list(group)
    in_place = [r for r in labelled if root is not None and _is_in_place(r.path, file, root)]
    if len({r.label for r in labelled}) > 1:
        return in_place[0] if in_place else None
    order = [splits.get("test"), splits.get("val")]
    return min(labelled, key=lambda r: (order.index(r.split) if r.split in order else 2, r not in in_place))


def _is_in_place(path: Path, file: str, root: Path) -> bool:
    """Return whether no part of a path below the root is a link."""
    return os.path.join(os.path.realpath(root), os.path.relpath(path, root)) == file


def _repeated(others: Mapping[str, str]) -> list[str]:
    named = first_names([f"{path} (is {kept})" for path, kept in others.items()])
    return [f"{len(others):,} links to images that are listed already are left out: {named}"] if others else []


def _contradictory(others: Mapping[str, str]) -> list[str]:
    named = first_names([f"{path} (is {file})" for path, file in others.items()])
    return [f"{len(others):,} links to one file from several classes are left out: {named}"] if others else []
