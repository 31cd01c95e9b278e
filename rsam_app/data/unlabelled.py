"""Images that nobody labelled yet: those of the card's own folder for them, and those that a layout lists without a
label."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from rsam_app.config import Card
from rsam_app.data.layouts.folder import images_below
from rsam_app.data.layouts.listing import require_folder
from rsam_app.data.records import UNLABELLED, Record
from rsam_app.system.errors import UserError


def list_unlabelled(card: Card, listed: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Every image below the card's folder `unlabelled`, at any depth, sorted by path, and notes on other files there.

    Their ids begin with `unlabelled/`. Files that are `listed` already, in a manifest say, are left out. Nothing where
    the card names no such folder; raises `UserError` where it is missing.
    """
    folder = card.unlabelled_path
    if folder is None:
        return [], []
    require_folder(folder, f"`unlabelled` in the card {card.name}", "Put the images there, or correct the card.")
    strays: Counter[str] = Counter()
    known = {os.path.abspath(record.path) for record in listed}
    found = [
        Record(id=f"{UNLABELLED}/{inside}", path=folder / inside, label="", split=UNLABELLED)
        for inside in images_below(folder, strays)
        if os.path.abspath(folder / inside) not in known
    ]
    return found, [f"{folder}: {count} {kind} ignored" for kind, count in sorted(strays.items())]


def part_unlabelled(
    name: str, records: Sequence[Record], names: Mapping[Literal["train", "val", "test"], str]
) -> tuple[list[Record], list[Record]]:
    """Records as a layout lists them, those with a label and those without, the latter in the split `unlabelled`.

    `names` maps our splits to the release's. A record without a label may be in no split, or in the one to train on.
    Raises `UserError` for one in another: what is given a label is trained on, and must not be measured on.
    """
    labelled, rest = [], []
    for record in records:
        if record.label:
            labelled.append(record)
        elif record.split in ("", UNLABELLED, names["train"]):
            rest.append(replace(record, split=UNLABELLED))
        else:
            raise UserError(
                f"card {name}: {record.id!r} has no label, and is in the split {record.split!r}.\n"
                "Give it a label, or leave its split blank: what has none is chosen from, and once labelled trained on."
            )
    return labelled, rest
