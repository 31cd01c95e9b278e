"""What an export is made of: a record as it stands after a person's corrections, and where the whole came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rsam_app.data.records import Record

Rectangle = tuple[float, float, float, float, float]
"""`cx, cy, width, height` in image pixels and `angle` in radians."""

Mode = Literal["copy", "hardlink", "symlink"]


@dataclass(frozen=True)
class ExportItem:
    """One record to export.

    `record` is as the data set has it; `label` is the one that holds now. `rectangle` is the person's where there is
    one (`rectangle_by` is `person`), else the model's (`model`), else None (empty). An `excluded` item is one that a
    person took out of the data set; exports leave it out and count it.
    """

    record: Record
    label: str
    rectangle: Rectangle | None = None
    rectangle_by: Literal["person", "model", ""] = ""
    predicted: str = ""
    confidence: float | None = None
    tags: tuple[str, ...] = ()
    excluded: bool = False


@dataclass(frozen=True)
class Source:
    """Where an export came from, for its data card: `classes` in the data set's order, `run` as a person types it."""

    dataset: str
    licence: str
    classes: tuple[str, ...]
    run: str
    tag: str


@dataclass(frozen=True)
class Written:
    """What a format wrote: each item's file (POSIX, relative to the export), how to read it all, and what to know.

    `reading` is the `layout` and `root` lines of a card, or Python; `{out}` in it stands for the export's name.
    """

    files: Sequence[str]
    reading: str
    notes: tuple[str, ...] = ()
