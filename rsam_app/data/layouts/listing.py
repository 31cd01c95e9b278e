"""What every layout yields: the release's own list of images, before any file of it was opened."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rsam_app.data.records import Record
from rsam_app.geometry.types import Box
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class Listing:
    """The records as the release lists them.

    Their `split` is the release's own name for it, `""` where the release has no splits; their sizes are still 0.
    `classes` are in the release's order and may include classes without an image. `notes` say what was ignored.
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def require_file(path: Path, layout: str) -> Path:
    """`path`, where it is a file. Raises `UserError` that says which layout needs it."""
    if not path.is_file():
        raise UserError(
            f"{path}: missing; the layout {layout} needs it.\n"
            "Put the whole dataset there, or correct `root` in the card."
        )
    return path


def require_folder(path: Path, what: str, remedy: str) -> Path:
    """`path`, where it is a folder. Raises `UserError` that says what needs it, and the remedy."""
    if not path.is_dir():
        raise UserError(f"{path}: missing; {what} needs that folder.\n{remedy}")
    return path


def distinct(names: Mapping[str, str]) -> dict[str, str]:
    """Class names by key, each once: classes that share a name get their key behind it, so that none are merged."""
    counts = Counter(names.values())
    return {key: name if counts[name] == 1 else f"{name} ({key})" for key, name in names.items()}


def inclusive_box(xmin: float, ymin: float, xmax: float, ymax: float) -> Box:
    """Pixels `xmin … xmax` by `ymin … ymax`, counted from 1, the last included, as continuous edges.

    Pixel 1 lies between the edges 0 and 1, so the box covers `xmin - 1 … xmax`. Raises `ValueError` where it is empty
    or not finite.
    """
    if not (math.isfinite(xmin + ymin + xmax + ymax) and xmax >= xmin and ymax >= ymin):
        raise ValueError(f"box from {xmin}, {ymin} to {xmax}, {ymax}")
    return xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1
