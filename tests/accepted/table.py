"""The table of docs/accepted-input.md, from the cases: `python -m tests.accepted.table` writes it anew."""

from __future__ import annotations

import os
import tempfile
from itertools import groupby
from pathlib import Path

from tests.accepted.cases import CASES, Case, what_it_does

DOCUMENT = Path(__file__).parents[2] / "docs" / "accepted-input.md"
INTRODUCTION = """# What we accept, and what we say

Files and settings as people really have them, and what happens with each. Every row is a test: the right column is what
the product did, word for word. `python -m tests.accepted.table` writes this page.

`rsam check PIPELINE` says the same about your own data before anything is trained.
"""


def row(case: Case) -> str:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        said = what_it_does(case, Path(folder).resolve())
    return f"| {_cell(case.given)} | {_cell(said)} |"


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for topic, cases in groupby(CASES, key=lambda case: case.topic):
        parts.append("\n".join([f"## {topic}\n", "| given | outcome |", "|---|---|", *map(row, cases)]) + "\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*refused*", "**refused**")


if __name__ == "__main__":
    os.environ.pop("RSAM_DATA", None)
    DOCUMENT.write_text(page(), encoding="utf-8")
