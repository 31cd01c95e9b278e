"""Records, predictions and corrections joined into what is exported."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from rsam_app.data.records import Dataset, Record, by_id
from rsam_app.geometry.types import RECTANGLE_FIELDS, Rectangle
from rsam_app.run.corrections import Correction, in_force, is_label, split_once_labelled
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import read_predictions
from rsam_app.system.errors import UserError

Mode = Literal["copy", "hardlink", "symlink"]


@dataclass(frozen=True)
class ExportItem:
    """One record to export.

    `record` is as the dataset has it; `label` is the one that holds now. `rectangle` is the person's where there is
    one (`rectangle_by` is `person`), else the model's (`model`), else None (empty). An `excluded` item is one that a
    person took out of the dataset; exports leave it out and count it.
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
    """Where an export came from, for its data card: `classes` in the dataset's order, `run` as a person types it."""

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


def collect(
    run: RunFolder,
    dataset: Dataset,
    ids: Sequence[str],
    corrections: Iterable[Correction],
    tags: Mapping[str, Sequence[str]],
) -> list[ExportItem]:
    """The records of `ids` (an id twice counts once, order kept) with what holds about them now.

    `dataset` is the dataset as its files have it, without corrections. Corrections count in every split, the test
    split too: an export is what the person decided, not what a model is measured on. What had no label and was given
    one is a training image; what has none is an item with an empty label. `tags` gives each id's tags, in any number. A
    record without predictions has neither prediction nor rectangle. Raises `UserError` for an id that is not in the
    dataset and for a corrected label that is none of its classes.
    """
    records = by_id(dataset.records)
    wanted = list(dict.fromkeys(ids))
    unknown = [i for i in wanted if i not in records]
    if unknown:
        raise UserError(
            f"export: {len(unknown)} records are not in the dataset {dataset.name!r}, e.g. {unknown[0]!r}.\n"
            "The dataset or its card changed; write the review again with `rsam review`, or restore the images."
        )
    force = in_force(corrections)
    said = _predictions(run, wanted)
    return [_item(records[i], dataset, force, said.get(i, {}), tags.get(i, ())) for i in wanted]


def _predictions(run: RunFolder, ids: list[str]) -> dict[str, dict[str, Any]]:
    if not any(run.predictions.glob("*.parquet")):
        return {}
    table = read_predictions(run.predictions).select(["id", "predicted", "confidence", *RECTANGLE_FIELDS])
    chosen = table.filter(pc.is_in(table.column("id"), value_set=pa.array(ids, type=pa.string())))
    return {row["id"]: row for row in chosen.to_pylist()}


def _item(
    record: Record,
    dataset: Dataset,
    force: Mapping[tuple[str, str], Correction],
    said: Mapping[str, Any],
    tags: Sequence[str],
) -> ExportItem:
    label, drawn, exclude = (force.get((record.id, kind)) for kind in ("label", "rectangle", "exclude"))
    if label and not is_label(dataset, record, label.after):
        raise UserError(
            f"export: record {record.id!r} was corrected to {label.after!r}, which is no class of {dataset.name!r}.\n"
            "Correct the label in the App and run `rsam apply` again."
        )
    if label:
        record = replace(record, split=split_once_labelled(record, label.after))
    by_person = _rectangle(json.loads(drawn.after)) if drawn and drawn.after else None
    by_model = _rectangle([said.get(name) for name in RECTANGLE_FIELDS])
    return ExportItem(
        record=record,
        label=label.after if label else record.label,
        rectangle=by_person or by_model,
        rectangle_by="person" if by_person else "model" if by_model else "",
        predicted=said.get("predicted") or "",
        confidence=said.get("confidence"),
        tags=tuple(tags),
        excluded=bool(exclude and exclude.after == "true"),
    )


def _rectangle(values: Sequence[float | None]) -> Rectangle | None:
    if any(v is None for v in values):
        return None
    return Rectangle(*(float(v) for v in values if v is not None))
