"""Writers of files in the official formats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def voc(*corners: tuple[float, float, float, float]) -> str:
    objects = "".join(
        f"<object><name>cat</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in corners
    )
    return f"<annotation><filename>x.jpg</filename>{objects}</annotation>"


def write_lists(root: Path, lists: Mapping[str, str]) -> None:
    """Write text files by their path in `root`."""
    for name, text in lists.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def cells(values: list[str]) -> np.ndarray:
    """Return a MATLAB cell array of texts, one per row."""
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


def structures(rows: list[dict[str, Any]]) -> np.ndarray:
    """Return a MATLAB structure array, one structure per column."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for column, row in enumerate(rows):
        for name, value in row.items():
            array[0, column][name] = value
    return array
