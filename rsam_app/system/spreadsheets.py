"""Text in CSV files that people open in a spreadsheet."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a text that a spreadsheet takes for a formula."""


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: such a text gets a leading `'`; numbers stay as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
