"""Unlabelled images: those in the card's folder `unlabelled`, and those that a layout lists without a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from rsam_app.config import Card
from rsam_app.data.layouts.folder import images_below
from rsam_app.data.layouts.ignored import Ignored
from rsam_app.data.layouts.links import RealPaths, list_files_once
from rsam_app.data.layouts.listing import require_folder
from rsam_app.data.records import UNLABELLED, Record
from rsam_app.system.errors import UserError


def list_unlabelled(card: Card, listed: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """List the images in the card's folder `unlabelled`, at any depth, sorted by path, and notes on other files there.

    Their ids begin with `unlabelled/`. Files that are already `listed`, such as in a manifest, and links to them, are
    left out. Nothing if
    the card names no such folder. Raises `UserError` if it is missing.
    """
    folder = card.unlabelled_path
    if folder is None:
        return [], []
    require_folder(folder, f"`unlabelled` in the card {card.name}", "Put the images there, or correct the card.")
    strays: Counter[str] = Counter()
    ignored = Ignored(folder, card.ignore)
    real = RealPaths()
    known = {real.of(record.path) for record in listed}
    records = [
        Record(id=f"{UNLABELLED}/{inside}", path=folder / inside, label="", split=UNLABELLED)
        for inside in images_below(folder, strays, ignored)
        if real.of(folder / inside) not in known
    ]
    records, link_notes = list_files_once(records, card.splits, folder)
    notes = [f"{folder}: {count} {kind} ignored" for kind, count in sorted(strays.items())]
    return records, [*notes, *ignored.notes(), *link_notes]


def separate_unlabelled(
    name: str, records: Sequence[Record], names: Mapping[Literal["train", "val", "test"], str]
) -> tuple[list[Record], list[Record]]:
    """Separate a layout's records with a label from those without, which join the split `unlabelled`.

    `names` maps RSAM's splits to the release's. A record without a label may be in no split or in the training split.
    Raises `UserError` for one in another split: once labelled it is trained on, so it must not be measured on.
    """
    labelled, unlabelled = [], []
    for record in records:
        if record.label:
            labelled.append(record)
        elif record.split in ("", UNLABELLED, names["train"]):
            unlabelled.append(replace(record, split=UNLABELLED))
        else:
            raise UserError(
                f"card {name}: {record.id!r} has no label, but is in the split {record.split!r}.\n"
                "Label it, or leave its split blank: unlabelled images are for training, once they are labelled."
            )
    return labelled, unlabelled
