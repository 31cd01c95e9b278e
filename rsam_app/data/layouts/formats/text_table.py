"""Text tables: one row per line, cells separated by spaces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class Row:
    """The cells of one line, and `where` it is, for messages."""

    cells: tuple[str, ...]
    where: str

    def integer(self, column: int) -> int:
        """Return a cell as an integer. Raises `UserError`, which names file, line and cell."""
        try:
            return int(self.cells[column])
        except ValueError as error:
            raise UserError(f"{self.where}: {self.cells[column]!r} is not a whole number. Restore the file.") from error

    def number(self, column: int) -> float:
        """Return a cell as a finite number. Raises `UserError`, which names file, line and cell."""
        try:
            value = float(self.cells[column])
            if not math.isfinite(value):
                raise ValueError("not finite")
        except ValueError as error:
            raise UserError(f"{self.where}: {self.cells[column]!r} is not a number. Restore the file.") from error
        return value


def read_rows(path: Path, columns: int) -> list[Row]:
    """Read rows of exactly `columns` cells; the last cell may hold spaces. Blank lines and comments (`#`) are skipped.

    Raises `UserError` if the file cannot be read as UTF-8 or a line has fewer cells.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Restore the file.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = tuple(line.strip().split(maxsplit=columns - 1))
        where = f"{path}, line {number}"
        if len(cells) < columns:
            raise UserError(f"{where}: {line.strip()!r} has {len(cells)} cells, expected {columns}. Restore the file.")
        rows.append(Row(cells, where))
    return rows


def keyed(rows: list[Row], column: int = 0) -> dict[str, Row]:
    """Return the rows keyed by one of their cells. Raises `UserError`, which names both lines, if two rows share it."""
    table: dict[str, Row] = {}
    for row in rows:
        key = row.cells[column]
        if key in table:
            raise UserError(f"{row.where}: {key!r} is already in {table[key].where}. Remove one of the two.")
        table[key] = row
    return table
