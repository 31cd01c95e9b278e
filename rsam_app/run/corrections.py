"""The corrections table: what a person decided about a dataset. One CSV per dataset, shared by all runs beside it;
it only grows, so it is its own history, and the last row about a record and a kind is the one that holds."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Literal, get_args

from rsam_app.data.records import UNLABELLED, Dataset, Record
from rsam_app.geometry.types import Rectangle
from rsam_app.system.errors import UserError

Kind = Literal["label", "rectangle", "exclude"]
COLUMNS = ("id", "kind", "before", "after", "who", "when", "run")


@dataclass(frozen=True)
class Correction:
    """One decision. `before` and `after` are a class name (`label`), `cx, cy, width, height, angle` in image pixels and
    radians as a JSON list (`rectangle`; empty where there was none), or `false`/`true` (`exclude`). `when` is ISO 8601
    in UTC. An `after` equal to the dataset's own value takes an earlier correction back."""

    id: str
    kind: Kind
    before: str
    after: str
    who: str
    when: str
    run: str


def now() -> str:
    """The time in UTC as `when` has it; to the millisecond, so that two additions differ."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def corrections_path(run: Path, dataset: str) -> Path:
    """Where the corrections of a dataset lie: beside the runs, `corrections/<dataset>.csv`."""
    return run.resolve().parent / "corrections" / f"{dataset}.csv"


def read_corrections(path: Path) -> list[Correction]:
    """Every decision in the order made; none where the file does not exist. Raises `UserError` on a bad row."""
    if not path.exists():
        return []
    try:
        # utf-8-sig: a spreadsheet that saved the table put a byte order mark before it.
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                header = ",".join(reader.fieldnames or ())
                raise UserError(f"{path}: header is {header!r}, expected {','.join(COLUMNS)}. Restore the header.")
            return [_parse(row, f"{path}, line {reader.line_num}") for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV in UTF-8 ({error}). Restore the file.") from error


def add_corrections(path: Path, new: Iterable[Correction]) -> list[Correction]:
    """Append the decisions that are not already in force, atomically; returns those that were added.

    Safe beside other commands that add to the same table: they take turns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        old = read_corrections(path)
        added = _news(old, new)
        if added:
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\r\n")  # so that a lone carriage return in a name gets its quotes
            writer.writerow(COLUMNS)
            writer.writerows([getattr(c, name) for name in COLUMNS] for c in [*old, *added])
            partial = path.with_suffix(".partial")
            partial.write_text(text.getvalue(), encoding="utf-8", newline="")
            os.replace(partial, path)
    return added


def in_force(corrections: Iterable[Correction]) -> dict[tuple[str, str], Correction]:
    """The last decision about each (record id, kind)."""
    return {(c.id, c.kind): c for c in corrections}


def last_addition(corrections: Sequence[Correction]) -> list[Correction]:
    """The rows of the last addition that still holds; none where there is none.

    Rows that one call added carry the same `who`, `when` and `run`. An addition that only brought back what was in
    force before another one, row by row, undid it: both are passed over, so that undoing again goes further back.
    """
    holding: list[tuple[list[Correction], list[Correction]]] = []  # additions, each with the rows that would undo it
    force: dict[tuple[str, str], Correction] = {}
    for _, rows in groupby(corrections, key=lambda c: (c.who, c.when, c.run)):
        added = list(rows)
        if holding and {(c.id, c.kind): c.after for c in added} == {(c.id, c.kind): c.after for c in holding[-1][1]}:
            holding.pop()
        else:
            holding.append((added, undoing(added, force)))
        force.update(in_force(added))
    return holding[-1][0] if holding else []


def undoing(added: Iterable[Correction], before: dict[tuple[str, str], Correction]) -> list[Correction]:
    """Rows that bring back what was in force `before` these were added, or the dataset's own value; signed as they."""
    rows = []
    for key, c in in_force(added).items():
        held = before.get(key)
        rows.append(replace(c, before=c.after, after=held.after if held else c.before))
    return rows


def apply_corrections(dataset: Dataset, corrections: Iterable[Correction]) -> tuple[Dataset, dict[str, Rectangle]]:
    """The dataset as corrected, and target rectangles (image pixels, radians) by record id.

    Only `train`, `val` and `unlabelled` change: a test split corrected by looking at the model would flatter the model.
    What had no label and was given one is in `train`. Corrections that change nothing, because of that or because their
    record is gone, are counted in the dataset's notes. Raises `UserError` where a corrected label is no class of the
    dataset.
    """
    force = in_force(corrections)
    records, targets = [], {}
    for record in dataset.records:
        if record.split == "test":
            records.append(record)
            continue
        label = force.get((record.id, "label"))
        if label and not is_label(dataset, record, label.after):
            raise UserError(
                f"corrections of {dataset.name}: record {record.id} has label {label.after!r}, which is no class of the"
                " dataset.\nCorrect the label in the App and run `rsam apply` again, or mend the table."
            )
        exclude = force.get((record.id, "exclude"))
        if exclude and exclude.after == "true":
            continue
        rectangle = force.get((record.id, "rectangle"))
        if rectangle and rectangle.after:
            targets[record.id] = _parse_rectangle(rectangle.after, record.id)
        records.append(
            replace(record, label=label.after, split=split_once_labelled(record, label.after)) if label else record
        )
    notes = (*dataset.notes, *_without_effect(dataset, force))
    return replace(dataset, records=tuple(records), notes=notes), targets


def is_label(dataset: Dataset, record: Record, label: str) -> bool:
    """Whether a record of the dataset, as its files have it, may be given this label: one of the classes, or none
    again where it had none."""
    return label in dataset.class_index or not (label or record.label)


def split_once_labelled(record: Record, label: str) -> str:
    """The split of a record, as the files have it, that was given this label: its first makes it a training image."""
    return "train" if record.split == UNLABELLED and label else record.split


def _without_effect(dataset: Dataset, force: dict[tuple[str, str], Correction]) -> list[str]:
    splits = {r.id: r.split for r in dataset.records}
    gone = sorted({id for id, _ in force if id not in splits})
    tested = sum(splits.get(id) == "test" for id, _ in force)
    notes = []
    if gone:
        notes.append(f"corrections of {len(gone):,} records that the dataset lacks change nothing, e.g. {gone[0]}")
    if tested:
        notes.append(f"{tested:,} corrections of test images are kept but not applied: the test split stays as it is")
    return notes


def _news(old: list[Correction], new: Iterable[Correction]) -> list[Correction]:
    force = in_force(old)
    added = []
    for c in new:
        held = force.get((c.id, c.kind))
        if (held.after if held else c.before) != c.after:
            added.append(c)
            force[(c.id, c.kind)] = c
    return added


def _parse(row: dict[str, str], where: str) -> Correction:
    if None in row or None in row.values() or row["kind"] not in get_args(Kind):
        raise UserError(f"{where}: is not a correction: {list(row.values())}. Mend or delete the line.")
    if row["kind"] == "exclude" and row["after"] not in ("true", "false"):
        raise UserError(f"{where}: exclude is {row['after']!r}, expected true or false. Mend or delete the line.")
    if row["kind"] == "rectangle" and row["after"]:
        _parse_rectangle(row["after"], where)
    return Correction(**row)  # type: ignore[arg-type]  # kind was checked above


def _parse_rectangle(text: str, where: str) -> Rectangle:
    try:
        values = json.loads(text)
        if not isinstance(values, list):
            raise TypeError("no list")
        cx, cy, width, height, angle = (float(v) for v in values)
        if not all(map(math.isfinite, (cx, cy, width, height, angle))) or width <= 0 or height <= 0:
            raise ValueError("no area")
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{where}: {text!r} is not a rectangle [cx, cy, width, height, angle]. Mend or delete the line."
        ) from error
    return Rectangle(cx, cy, width, height, angle)
