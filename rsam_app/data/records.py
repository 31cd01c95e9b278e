"""Records: what is known about each image before any model has looked at it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rsam_app.geometry.types import Box
from rsam_app.system.errors import UserError

SPLITS = ("train", "val", "test")
UNLABELLED = "unlabelled"
"""The split of images without a label: predicted, shown and chosen from, and trained on once a person gave them one."""


@dataclass(frozen=True)
class Record:
    """One image and its annotations.

    `id` is unique in its dataset and stable over re-reads: the image's path relative to the dataset's root, in POSIX
    form. `width` and `height` are those of the image as displayed (EXIF orientation applied). `mask` is an image of the
    same size whose pixels equal to one of `mask_values` are the object. `group` names what else is there, such as a
    background, where that is known: accuracies are measured per label and group, and nothing learns from it. `label` is
    empty in the split `unlabelled`. `banner` is how many rows at the bottom of the displayed image hold text about it:
    they are painted over when it is decoded.
    """

    id: str
    path: Path
    label: str
    split: str
    width: int = 0
    height: int = 0
    boxes: tuple[Box, ...] = ()
    mask: Path | None = None
    mask_values: tuple[int, ...] = (1,)
    group: str = ""
    banner: int = 0


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Everything a card describes, read and checked.

    `classes` is sorted as the release orders them and includes classes that one of the splits lacks; a class index
    anywhere in the product is a position in this tuple. `skipped` are listed images that cannot be read,
    `skipped_masks` masks that cannot be used (their images stay), `notes` sentences about what was assumed or left out.
    """

    name: str
    records: tuple[Record, ...]
    classes: tuple[str, ...]
    licence: str
    skipped: tuple[Skipped, ...] = ()
    skipped_masks: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    class_index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_index", {name: i for i, name in enumerate(self.classes)})

    def split(self, name: str) -> tuple[Record, ...]:
        """The records of one split, in a stable order; `all` gives every record."""
        return self.records if name == "all" else tuple(r for r in self.records if r.split == name)

    def require(self, name: str) -> tuple[Record, ...]:
        """The records of one split (or `all`). Raises `UserError` where it has none: call before hours of training."""
        found = self.split(name)
        if not found:
            have = ", ".join(s for s in (*SPLITS, UNLABELLED) if self.split(s)) or "none"
            raise UserError(
                f"{self.name}: the split {name!r} is empty (with images: {have}).\n"
                "Add images to it, map it under `splits` in the card, or use another, e.g. --set evaluate.split=val."
            )
        return found

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what a model could learn from: ids, labels, splits, sizes, boxes. Independent of the machine.

        Images without a label do not count.
        """
        digest = hashlib.sha256()
        for r in self.records:
            if r.split == UNLABELLED:
                continue
            mask = r.mask.name if r.mask else ""
            digest.update(repr((r.id, r.label, r.split, r.width, r.height, r.boxes, mask)).encode())
            if r.banner:
                digest.update(repr(r.banner).encode())
        digest.update(repr(self.classes).encode())
        return digest.hexdigest()


def class_number(record: Record, class_index: Mapping[str, int]) -> int:
    """The index of the record's class; -1 where it has no label. Raises `KeyError` for a class that is not known."""
    return class_index[record.label] if record.label else -1


def by_id(records: Sequence[Record]) -> dict[str, Record]:
    """Records keyed by their id."""
    return {r.id: r for r in records}
