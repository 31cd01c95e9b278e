"""The taxonomy of a card: a CSV file with a row per class, checked against the classes of the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from rsam_app.config import Card, Taxonomy
from rsam_app.config.taxonomy import CLASS
from rsam_app.data.layouts.formats.csv_table import read_csv
from rsam_app.data.left_out import first_names
from rsam_app.system.errors import UserError, suggest
from rsam_app.system.paths import is_file, misread

Rows = dict[str, tuple[int, dict[str, str]]]
"""Line number and cells by class."""


def read_taxonomy(card: Card, classes: Sequence[str]) -> Taxonomy | None:
    """The hierarchy of `classes` in the file that the card names; None if it names none.

    Rows of other classes are checked too, and left out. Raises `UserError`, which names line and class, for a missing
    file, a class without a row or with two, an empty cell, and a node with two parents.
    """
    path = card.taxonomy_path
    if path is None:
        return None
    if not is_file(path):
        raise UserError(
            f"card {card.name}: taxonomy: there is no file {path}, nor is it beside the card.{misread(card.taxonomy)}"
            " Correct the path, or remove the key."
        )
    levels: list[str] = []

    def check_header(cells: list[str]) -> list[str]:
        levels.extend(_checked_levels(path, cells))
        return levels

    rows = _by_class(path, read_csv(path, check_header))
    _refuse_two_parents(path, levels, rows)
    missing = [name for name in classes if name not in rows]
    if missing:
        more = f" ({len(missing):,} such classes: {first_names(missing)})" if len(missing) > 1 else ""
        raise UserError(
            f"{path}: has no row for the class {missing[0]!r} of the dataset {card.name}{more}."
            f"{suggest(missing[0], rows.keys() - set(classes))} Add the row `{missing[0]},…`."
        )
    return Taxonomy(tuple(levels), tuple(tuple(rows[name][1][level] for name in classes) for level in levels))


def _checked_levels(path: Path, header: list[str]) -> list[str]:
    levels = [CLASS, *header[1:]]
    problem = ""
    if not header or header[0].lower() != CLASS:
        problem = f"does not begin with `{CLASS}`"
    elif len(header) < 2:
        problem = f"has no level above `{CLASS}`"
    elif "" in header:
        problem = "has a level without a name"
    elif repeated := sorted(name for name, times in Counter(levels).items() if times > 1):
        problem = f"repeats {', '.join(repeated)}"
    if problem:
        raise UserError(
            f"{path}: the header {','.join(header)!r} {problem}.\n"
            f"Expected `{CLASS}` and the levels above it, the coarsest last, e.g. {CLASS},genus,family."
        )
    return levels


def _by_class(path: Path, rows: Sequence[tuple[int, dict[str, str]]]) -> Rows:
    found: Rows = {}
    for line, cells in rows:
        name = cells[CLASS]
        if empty := [level for level, cell in cells.items() if not cell]:
            raise UserError(f"{path}, line {line}: the class {name!r} has no {empty[0]}. Fill in that cell.")
        if name in found:
            raise UserError(f"{path}, lines {found[name][0]} and {line}: the class {name!r} twice. Remove one of them.")
        found[name] = line, cells
    return found


def _refuse_two_parents(path: Path, levels: Sequence[str], rows: Rows) -> None:
    first: dict[tuple[str, str], tuple[int, str]] = {}
    for line, cells in rows.values():
        for level, above in pairwise(levels[1:]):
            before, parent = first.setdefault((level, cells[level]), (line, cells[above]))
            if parent != cells[above]:
                raise UserError(
                    f"{path}, lines {before} and {line}: the {level} {cells[level]!r} has the {above} {parent!r} and"
                    f" {cells[above]!r}. Keep one of them: each {level} belongs to one {above}."
                )
