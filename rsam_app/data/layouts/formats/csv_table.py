"""CSV files with a header, read strictly."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from rsam_app.system.errors import UserError


def read_csv(path: Path, check_header: Callable[[list[str]], list[str]]) -> list[tuple[int, dict[str, str]]]:
    """The rows below the header, each with its line number and its cells by column; blank rows are left out.

    `check_header` gets the header's cells and returns the columns' names. Raises `UserError`, which names the line,
    for a row of another length, and for a file that is neither UTF-8 nor CSV.
    """
    try:
        # utf-8-sig: spreadsheets write a byte order mark. strict: an unclosed quote must not swallow rows.
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            header = check_header([name.strip() for name in next(reader, [])])
            rows = []
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(header):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}."
                        " Put quotes around a cell that holds a comma."
                    )
                rows.append((reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))))
            return rows
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is not UTF-8 ({error.reason} at byte {error.start}). Save it as `CSV UTF-8`."
        ) from error
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}: is not CSV ({error}). Check for an unclosed quote."
        ) from error
