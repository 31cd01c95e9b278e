"""Text in CSV files that people open in a spreadsheet."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Beginnings of a text that a spreadsheet takes for a formula."""


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: such a text gets a leading `'`; numbers stay as they are.

    `csv_text` returns the text unchanged, also one that begins with `'` itself.
    """
    return f"'{value}" if isinstance(value, str) and _may_be_formula(value) else value


def csv_text(cell: str) -> str:
    """The text of a cell that `csv_cell` wrote."""
    return cell[1:] if cell.startswith("'") and _may_be_formula(cell) else cell


def _may_be_formula(text: str) -> bool:
    return text.lstrip("'").startswith(FORMULA)
