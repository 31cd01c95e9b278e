"""The listing of a release: its records and classes before any image is opened; and checks that the layouts share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rsam_app.data.records import Record
from rsam_app.geometry.types import Box
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class Listing:
    """The records as the release lists them.

    Their `split` is the release's name for it, `""` if the release has no splits; their sizes are still 0. `classes`
    are in the release's order and may include classes without an image. `notes` name what was ignored.
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def require_file(path: Path, layout: str) -> Path:
    """Return `path`. Raises `UserError`, which names the layout, if it is not a file."""
    if not path.is_file():
        raise UserError(
            f"{path}: missing; the layout {layout} needs it.\n"
            "Put the whole dataset there, or correct `root` in the card."
        )
    return path


def require_folder(path: Path, what: str, remedy: str) -> Path:
    """Return `path`. Raises `UserError`, with what needs it and the remedy, if it is not a folder."""
    if not path.is_dir():
        raise UserError(f"{path}: missing; {what} needs that folder.\n{remedy}")
    return path


def unique_names(names: Mapping[str, str]) -> dict[str, str]:
    """Make class names, by key, unique: names that several classes share get their key appended."""
    counts = Counter(names.values())
    return {key: name if counts[name] == 1 else f"{name} ({key})" for key, name in names.items()}


def box_of(values: Iterable[str | float]) -> Box:
    """Return the box of `x, y, width, height`. Raises `ValueError` unless they are four finite numbers with an area."""
    x, y, width, height = map(float, values)
    if not (math.isfinite(x + y + width + height) and width > 0 and height > 0):
        raise ValueError(f"the box {x}, {y}, {width}, {height} has no area")
    return x, y, width, height


def inclusive_box(xmin: float, ymin: float, xmax: float, ymax: float) -> Box:
    """Return the box of the pixels `xmin … xmax` by `ymin … ymax`, counted from 1, the last included.

    Pixel 1 lies between the edges 0 and 1, so the box covers `xmin - 1 … xmax`. Raises `ValueError` if it is empty or
    not finite.
    """
    if not (math.isfinite(xmin + ymin + xmax + ymax) and xmax >= xmin and ymax >= ymin):
        raise ValueError(f"the box from {xmin}, {ymin} to {xmax}, {ymax} has no area")
    return xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1
