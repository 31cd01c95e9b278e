"""Export items: records joined with their predictions and corrections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from rsam_app.data.records import Dataset, Record, by_id
from rsam_app.geometry.types import RECTANGLE_FIELDS, Rectangle
from rsam_app.run.corrections import Correction, in_force, split_after_labelling
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import read_predictions
from rsam_app.system.errors import UserError
from rsam_app.system.json_files import parse_json

Mode = Literal["copy", "hardlink", "symlink"]


@dataclass(frozen=True)
class ExportItem:
    """One record to export.

    `record` is as in the dataset; `label` is the current one. `rectangle` is the reviewer's if there is one
    (`rectangle_by` is `person`), else the model's (`model`), else None (empty). Exports omit and count the `excluded`
    items, which a reviewer removed from the dataset.
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
    """Origin of an export, for its data card: `classes` in the dataset's order, `run` as given on the command line,
    and `left_out`, a line for each image or mask that the dataset could not use and for each of its notes."""

    dataset: str
    licence: str
    classes: tuple[str, ...]
    run: str
    tag: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """Result of a format's writer: each item's file (POSIX, relative to the export), how to load them, and notes.

    `reading` is the `layout` and `root` lines of a card, or Python code; `{out}` in it is the export's name.
    """

    files: Sequence[str]
    reading: str
    notes: tuple[str, ...] = ()


def note_masks(items: Sequence[ExportItem]) -> tuple[str, ...]:
    """The note of formats that cannot hold masks; none without masks."""
    masks = sum(item.record.mask is not None for item in items)
    return (f"the masks of {masks} images are left out; the format manifest includes them",) if masks else ()


def collect(
    run: RunFolder,
    dataset: Dataset,
    ids: Sequence[str],
    corrections: Iterable[Correction],
    tags: Mapping[str, Sequence[str]],
) -> list[ExportItem]:
    """Return the records of `ids`, in their order and each once, with their current labels and rectangles.

    `dataset` is the dataset as in its files, without corrections. Corrections apply in every split, also in the test
    split: an export holds decisions, it does not measure a model. Images that were labelled in the review are training
    images; those without a label have an empty one. `tags` are the tags by id. Records without predictions have neither
    prediction nor rectangle. Raises `UserError` for an id that is not in the dataset.
    """
    records = by_id(dataset.records)
    wanted = list(dict.fromkeys(ids))
    unknown = [i for i in wanted if i not in records]
    if unknown:
        raise UserError(
            f"export: {len(unknown)} records are not in the dataset {dataset.name!r}, e.g. {unknown[0]!r}.\n"
            "The dataset or its card changed: rerun `rsam review`, or restore the images."
        )
    current = in_force(corrections)
    predictions = _predictions(run, wanted)
    return [_item(records[i], current, predictions.get(i, {}), tags.get(i, ())) for i in wanted]


def _predictions(run: RunFolder, ids: list[str]) -> dict[str, dict[str, Any]]:
    if not any(run.predictions.glob("*.parquet")):
        return {}
    table = read_predictions(run.predictions).select(["id", "predicted", "confidence", *RECTANGLE_FIELDS])
    chosen = table.filter(pc.is_in(table.column("id"), value_set=pa.array(ids, type=pa.string())))
    return {row["id"]: row for row in chosen.to_pylist()}


def _item(
    record: Record,
    current: Mapping[tuple[str, str], Correction],
    prediction: Mapping[str, Any],
    tags: Sequence[str],
) -> ExportItem:
    label, drawn, exclude = (current.get((record.id, kind)) for kind in ("label", "rectangle", "exclude"))
    if label:
        record = replace(record, split=split_after_labelling(record, label.after))
    by_person = _rectangle(parse_json(drawn.after)) if drawn and drawn.after else None
    by_model = _rectangle([prediction.get(name) for name in RECTANGLE_FIELDS])
    return ExportItem(
        record=record,
        label=label.after if label else record.label,
        rectangle=by_person or by_model,
        rectangle_by="person" if by_person else "model" if by_model else "",
        predicted=prediction.get("predicted") or "",
        confidence=prediction.get("confidence"),
        tags=tuple(tags),
        excluded=bool(exclude and exclude.after == "true"),
    )


def _rectangle(values: Sequence[float | None]) -> Rectangle | None:
    known = [float(value) for value in values if value is not None]
    return Rectangle(*known) if len(known) == len(values) else None
