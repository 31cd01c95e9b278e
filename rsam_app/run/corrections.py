"""The corrections table: a reviewer's decisions about a dataset. One CSV per dataset, shared by all runs beside it.

Rows are only appended, so the table is its own history; the last row about a record and a kind is in force."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from rsam_app.data.left_out import first_names
from rsam_app.data.records import UNLABELLED, Dataset, Record, by_id
from rsam_app.geometry.types import Rectangle
from rsam_app.run.answers import Answers
from rsam_app.system.errors import UserError
from rsam_app.system.files import create_private, locked, write_atomically
from rsam_app.system.json_files import parse_json
from rsam_app.system.spreadsheets import csv_cell, csv_text

Kind = Literal["label", "rectangle", "exclude", "place", "class"]
COLUMNS = ("id", "kind", "before", "after", "who", "when", "run")


@dataclass(frozen=True)
class Correction:
    """One decision about the record `id`, or about the class `id` of the dataset's files (`class`).

    `before` and `after` are a class's name in the files, or that of a new class (`label`); a class's name (`class`);
    `cx, cy, width, height, angle` in image pixels and radians as a JSON list (`rectangle`; empty if there was none);
    `false`/`true` (`exclude`); or `right` or `wrong` and the model's rectangle that this was said of (`place`; empty if
    nothing is). `when` is ISO 8601 in UTC. An `after` equal to the dataset's own value cancels an earlier correction.
    """

    id: str
    kind: Kind
    before: str
    after: str
    who: str
    when: str
    run: str


def now() -> str:
    """The current time in the format of `when`, to the millisecond, so that two additions differ."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def corrections_path(run: Path, dataset: str) -> Path:
    """The path of a dataset's corrections: `corrections/<dataset>.csv` beside the runs."""
    return run.resolve().parent / "corrections" / f"{dataset}.csv"


def read_corrections(path: Path) -> list[Correction]:
    """Read all decisions in the order made; none if there is no file. Raises `UserError` on a bad row."""
    if not path.exists():
        return []
    try:
        # utf-8-sig: spreadsheets save the table with a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                header = ",".join(reader.fieldnames or ())
                raise UserError(f"{path}: header is {header!r}, expected {','.join(COLUMNS)}. Restore the header.")
            return [_parse(row, f"{path}, line {reader.line_num}") for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV in UTF-8 ({error}). Restore the file.") from error


def add_corrections(path: Path, new: Iterable[Correction]) -> list[Correction]:
    """Append the decisions that are not yet in force, atomically; return those that were added.

    Several commands may add to the same table at once.
    """
    create_private(path.parent)
    with locked(path.with_name(f".{path.name}.lock")):
        old = read_corrections(path)
        added = _new_decisions(old, new)
        if added:
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\r\n")  # quotes a lone carriage return in a name
            writer.writerow(COLUMNS)
            writer.writerows([csv_cell(getattr(c, name)) for name in COLUMNS] for c in [*old, *added])
            write_atomically(path, text.getvalue())
    return added


def in_force(corrections: Iterable[Correction]) -> dict[tuple[str, str], Correction]:
    """The last decision about each (record id, kind)."""
    return {(c.id, c.kind): c for c in corrections}


def last_addition(corrections: Sequence[Correction]) -> list[Correction]:
    """The rows of the last addition that was not undone; empty if there is none.

    Rows of one addition have the same `who`, `when` and `run`. An addition that restores, row by row, what was in force
    before the previous one has undone it: both are skipped, so that a second undo goes further back.
    """
    standing: list[tuple[list[Correction], list[Correction]]] = []  # additions, each with the rows that would undo it
    force: dict[tuple[str, str], Correction] = {}
    for _, rows in groupby(corrections, key=lambda c: (c.who, c.when, c.run)):
        added = list(rows)
        if standing and {(c.id, c.kind): c.after for c in added} == {(c.id, c.kind): c.after for c in standing[-1][1]}:
            standing.pop()
        else:
            standing.append((added, reversals(added, force)))
        force.update(in_force(added))
    return standing[-1][0] if standing else []


def reversals(added: Iterable[Correction], before: dict[tuple[str, str], Correction]) -> list[Correction]:
    """Rows that undo `added`: they restore what was in force `before`, else the dataset's own value."""
    rows = []
    for key, c in in_force(added).items():
        earlier = before.get(key)
        rows.append(replace(c, before=c.after, after=earlier.after if earlier else c.before))
    return rows


def first_labels(corrections: Iterable[Correction]) -> dict[str, str]:
    """Labels in force of images that had none, by record id: of a dataset that was labelled from nothing, the only
    ones. In the order in which their classes were first given."""
    rows = [c for c in corrections if c.kind == "label"]
    place = {name: n for n, name in enumerate(dict.fromkeys(c.after for c in rows))}
    began_blank = {c.id for c in reversed(rows) if not c.before}
    force = {c.id: c.after for c in rows if c.id in began_blank}
    return dict(sorted(((i, label) for i, label in force.items() if label), key=lambda item: place[item[1]]))


def class_names_in_force(corrections: Iterable[Correction]) -> dict[str, str]:
    """The present names of classes that were renamed or merged, by their names in the dataset's files."""
    rows = (c for c in in_force(corrections).values() if c.kind == "class")
    return {c.id: c.after for c in rows if c.after != c.id}


def under_present_names(
    dataset: Dataset, corrections: Iterable[Correction], names: Mapping[str, str] | None = None
) -> tuple[Dataset, list[Correction]]:
    """Return the dataset and the corrections of images with the present names of the classes: by default those that
    the corrections give."""
    rows = list(corrections)
    names = class_names_in_force(rows) if names is None else names
    return dataset.renamed(names), [
        replace(c, before=names.get(c.before, c.before), after=names.get(c.after, c.after)) if c.kind == "label" else c
        for c in rows
        if c.kind != "class"
    ]


class CorrectedDataset(NamedTuple):
    """A dataset with the reviewer's corrections."""

    dataset: Dataset
    targets: dict[str, Rectangle]
    """Drawn and accepted rectangles (image pixels) by record id."""
    answers: Answers
    """The targets, and what the reviewer said of the places of the model's other rectangles."""


def apply_corrections(dataset: Dataset, corrections: Iterable[Correction]) -> CorrectedDataset:
    """Return the corrected dataset, the target rectangles, and the answers about rectangles.

    Classes are renamed and merged in all splits. Otherwise only `train`, `val` and `unlabelled` change: correcting the
    test split with the model in view would favour the model. An unlabelled image that got a label moves to `train`.

    The dataset's notes count corrections without effect: those of test images and of records that no longer exist; and
    name new classes, which follow the others in the order in which they were first given, and classes without a
    training image, which are left out with their images in every split, unless that leaves fewer than two. Raises
    `UserError` if an image that had a label has none.
    """
    dataset, corrections = under_present_names(dataset, corrections)
    force = in_force(corrections)
    records, targets = [], {}
    right: dict[str, Rectangle] = {}
    wrong: dict[str, Rectangle] = {}
    for record in dataset.records:
        if record.split == "test":
            records.append(record)
            continue
        exclude = force.get((record.id, "exclude"))
        if exclude and exclude.after == "true":
            continue
        rectangle = force.get((record.id, "rectangle"))
        if rectangle and rectangle.after:
            targets[record.id] = _parse_rectangle(rectangle.after, record.id)
        elif (place := force.get((record.id, "place"))) and place.after:
            is_right, judged = parse_place(place.after, record.id)
            (right if is_right else wrong)[record.id] = judged
        records.append(_relabelled(dataset, record, force.get((record.id, "label"))))
    corrected = _with_classes_of(dataset, records, corrections)
    notes = (*dataset.notes, *_without_effect(dataset, force), *corrected.notes)
    return CorrectedDataset(replace(corrected, notes=notes), targets, Answers({**right, **targets}, wrong))


def earlier_labels(dataset: Dataset, corrections: Iterable[Correction]) -> dict[str, str]:
    """The corrected labels of a dataset's images by record id where the class was renamed or merged, by its name in the
    files."""
    rows = list(corrections)
    names = class_names_in_force(rows)
    given = {c.id: c.after for c in in_force(rows).values() if c.kind == "label"} if names else {}
    labels = {r.id: r.label if r.split == "test" else given.get(r.id, r.label) for r in dataset.records}
    return {record_id: label for record_id, label in labels.items() if label in names}


def _relabelled(dataset: Dataset, record: Record, label: Correction | None) -> Record:
    if label is None:
        return record
    if record.label and not label.after:
        raise UserError(
            f"corrections of {dataset.name}: record {record.id} has lost its label {record.label!r}.\n"
            "Give it one in the App and run `rsam apply` again, or fix the table."
        )
    return replace(record, label=label.after, split=split_after_labelling(record, label.after))


def _with_classes_of(dataset: Dataset, records: Sequence[Record], corrections: Sequence[Correction]) -> Dataset:
    """The dataset with these corrected records and their classes; its notes are about the classes only."""
    untrained = untrained_classes(dataset.classes, dataset.records)
    emptied = [name for name in untrained_classes(dataset.classes, records) if name not in untrained]
    new = new_classes(dataset.classes, corrections, {r.label for r in records if r.split != "test"})
    unlearned = untrained_classes(new, records)
    classes = [name for name in (*dataset.classes, *new) if name not in (*emptied, *unlearned)]
    notes = _class_notes("new classes by the corrections", [name for name in new if name in classes])
    if len(classes) < 2:
        classes = [name for name in (*dataset.classes, *new) if name not in unlearned]
        notes += _class_notes("classes without a training image left, kept because a model needs two", emptied)
    else:
        notes += _left_out_notes("classes without a training image left after the corrections", emptied, records)
    notes += _left_out_notes("new classes without a training image", unlearned, records)
    kept = tuple(r for r in records if not r.label or r.label in classes)
    taxonomy = dataset.taxonomy.of_classes(classes) if dataset.taxonomy else None
    return replace(dataset, records=kept, classes=tuple(classes), notes=tuple(notes), taxonomy=taxonomy)


def new_classes(known: Sequence[str], corrections: Iterable[Correction], used: Collection[str]) -> list[str]:
    """Classes that corrections give to images and that are not `known`, in the order in which they were first given;
    only those `used`."""
    given = dict.fromkeys(c.after for c in corrections if c.kind == "label" and c.after)
    return [name for name in given if name in used and name not in known]


def split_after_labelling(record: Record, label: str) -> str:
    """The split of an original record after it got this label: a first label makes it a training image."""
    return "train" if record.split == UNLABELLED and label else record.split


def _without_effect(dataset: Dataset, force: dict[tuple[str, str], Correction]) -> list[str]:
    records = by_id(dataset.records)
    gone = sorted({id for id, _ in force if id not in records})
    tested = sum(_contradicts_test(records[id], c) for (id, _), c in force.items() if id in records)
    notes = []
    if gone:
        notes.append(f"corrections of {len(gone):,} records are not applied: the dataset lacks them, e.g. {gone[0]}")
    if tested:
        notes.append(f"{tested:,} corrections of test images are not applied: the test split stays unchanged")
    return notes


def _contradicts_test(record: Record, correction: Correction) -> bool:
    """Whether the record is a test image and the correction is not its label, as the first labels of a dataset are."""
    return record.split == "test" and not (correction.kind == "label" and correction.after == record.label)


def untrained_classes(classes: Sequence[str], records: Iterable[Record]) -> list[str]:
    """The classes without a training image among `records`."""
    trained = {r.label for r in records if r.split == "train"}
    return [name for name in classes if name not in trained]


def _class_notes(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what} ({len(names):,}): {first_names(names)}"] if names else []


def _left_out_notes(what: str, names: Sequence[str], records: Sequence[Record]) -> list[str]:
    if not names:
        return []
    images = sum(r.label in names for r in records)
    return [f"{what} ({len(names):,}) are left out, with {images:,} images of other splits: {first_names(names)}"]


def _new_decisions(old: list[Correction], new: Iterable[Correction]) -> list[Correction]:
    new = list(new)
    force, names = in_force(old), class_names_in_force([*old, *new])
    added = []
    for c in new:
        earlier = force.get((c.id, c.kind))
        before, after = earlier.after if earlier else c.before, c.after
        if c.kind == "label":  # a label of a class that was merged is not a new decision
            before, after = names.get(before, before), names.get(after, after)
        if before != after:
            added.append(c)
            force[(c.id, c.kind)] = c
    return added


def _parse(row: dict[str, str], location: str) -> Correction:
    if None in row or None in row.values() or row["kind"] not in get_args(Kind):
        raise UserError(f"{location}: is not a correction: {list(row.values())}. Fix or delete the line.")
    if row["kind"] == "exclude" and row["after"] not in ("true", "false"):
        raise UserError(f"{location}: exclude is {row['after']!r}, expected true or false. Fix or delete the line.")
    if row["kind"] == "class" and not (row["id"] and row["after"]):
        raise UserError(f"{location}: a class has no name. Fix or delete the line.")
    if row["kind"] == "rectangle" and row["after"]:
        _parse_rectangle(row["after"], location)
    if row["kind"] == "place" and row["after"]:
        parse_place(row["after"], location)
    return Correction(**{column: csv_text(cell) for column, cell in row.items()})  # type: ignore[arg-type]  # kind was checked above


def place_text(is_right: bool, rectangle: Rectangle) -> str:
    """Return an answer about a rectangle as the table has it."""
    return f"{'right' if is_right else 'wrong'} {json.dumps([round(v, 4) for v in rectangle])}"


def parse_place(text: str, location: str) -> tuple[bool, Rectangle]:
    """Return whether the rectangle is right, and the rectangle. Raises `UserError`, naming `location`."""
    verdict, _, rectangle = text.partition(" ")
    if verdict not in ("right", "wrong"):
        raise UserError(
            f"{location}: place is {text!r}, expected right or wrong and a rectangle. Fix or delete the line."
        )
    return verdict == "right", _parse_rectangle(rectangle, location)


def _parse_rectangle(text: str, location: str) -> Rectangle:
    try:
        values = parse_json(text)
        if not isinstance(values, list):
            raise TypeError("not a list")
        cx, cy, width, height, angle = (float(v) for v in values)
        if not all(map(math.isfinite, (cx, cy, width, height, angle))) or width <= 0 or height <= 0:
            raise ValueError("no area")
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f"{location}: {text!r} is not a rectangle [cx, cy, width, height, angle]. Fix or delete the line."
        ) from error
    return Rectangle(cx, cy, width, height, angle)
