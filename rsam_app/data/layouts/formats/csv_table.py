"""CSV files with a header, read strictly."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from rsam_app.system.errors import UserError
from rsam_app.system.spreadsheets import csv_text

MOST_COLUMNS = 10_000
"""Columns of a table at most."""
LONGEST_LINE = 2**24
"""Characters of a line at most."""


def read_csv(path: Path, check_header: Callable[[list[str]], list[str]]) -> list[tuple[int, dict[str, str]]]:
    """The rows below the header, each with its line number and its cells by column; blank rows are left out.

    Cells are the texts that our exports gave to `csv_cell`. `check_header` gets the header's cells and returns the
    columns' names. Raises `UserError`, which names the line, for a row of another length, for too many columns, and for
    a file that is neither UTF-8 nor CSV.
    """
    try:
        # utf-8-sig: spreadsheets write a byte order mark. strict: an unclosed quote must not swallow rows.
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(_lines(stream), strict=True)
            names = next(reader, [])
            if len(names) > MOST_COLUMNS:
                raise UserError(
                    f"{path}: the header has {len(names):,} columns, more than {MOST_COLUMNS:,}."
                    " Delete the columns that do not describe an image."
                )
            header = check_header([name.strip() for name in names])
            rows = []
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}."
                        " Put quotes around a cell that holds a comma."
                    )
                texts = (csv_text(cell.strip()) for cell in cells)
                rows.append((reader.line_num, dict(zip(header, texts, strict=True))))
            return rows
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}). Check the file and its permissions.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is not UTF-8 ({error.reason} at byte {error.start}). Save it as `CSV UTF-8`."
        ) from error
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}: is not CSV ({error}). Check for an unclosed quote."
        ) from error


def first_cells(path: Path) -> list[str]:
    """The cells of a file's header, whatever the file is; none if it is no table."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
            return next(csv.reader(_lines(stream)), [])
    except (OSError, csv.Error):
        return []


def _lines(stream: TextIO) -> Iterator[str]:
    """The lines of a file. Raises `csv.Error` at one too long to be of a table, before it is read whole."""
    while line := stream.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise csv.Error(f"a line has more than {LONGEST_LINE:,} characters")
        yield line
