"""Records: one image each, with its annotations; and the dataset that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rsam_app.config import Taxonomy
from rsam_app.geometry.types import Box
from rsam_app.system.errors import UserError

SPLITS = ("train", "val", "test")
UNLABELLED = "unlabelled"
"""The split of images without a label: predicted, shown and selected, and trained on once you have labelled them."""


@dataclass(frozen=True)
class Record:
    """One image and its annotations.

    `id` is unique in its dataset and stable over re-reads: the image's path relative to the dataset's root, in POSIX
    form. `width` and `height` are those of the displayed image (EXIF orientation applied). `mask` is an image of the
    same size; its pixels with one of `mask_values` are the object. `group` names what else the image shows, such as a
    background, if that is known: accuracies are measured per label and group, and nothing learns from it. `label` is
    empty in the split `unlabelled`. `banner` is the number of rows of text at the bottom of the displayed image;
    decoding paints over them.
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
    """A file that was left out, and the reason; `id` is the record's if the file is its image."""

    path: Path
    reason: str
    id: str = ""


@dataclass(frozen=True)
class Dataset:
    """The images that a card describes, read and checked.

    `classes` are in the release's order and include classes that one of the splits lacks; a class index is always a
    position in this tuple. `skipped` are listed images that cannot be read, `skipped_masks` masks that cannot be used
    (their images stay), `notes` sentences about what was assumed or left out. `taxonomy` is the hierarchy of the
    classes, in their order; None if the card names none. Training does not use it, so it is not in the fingerprint.
    """

    name: str
    records: tuple[Record, ...]
    classes: tuple[str, ...]
    licence: str
    skipped: tuple[Skipped, ...] = ()
    skipped_masks: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    taxonomy: Taxonomy | None = None
    class_index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_index", {name: i for i, name in enumerate(self.classes)})

    def split(self, name: str) -> tuple[Record, ...]:
        """Return the records of one split, in a stable order; `all` gives every record."""
        return self.records if name == "all" else tuple(r for r in self.records if r.split == name)

    def require(self, name: str) -> tuple[Record, ...]:
        """As `split`. Raises `UserError` if it is empty: call it before hours of training."""
        records = self.split(name)
        if not records:
            have = ", ".join(s for s in (*SPLITS, UNLABELLED) if self.split(s)) or "none"
            raise UserError(
                f"{self.name}: the split {name!r} is empty (with images: {have}).\n"
                "Add images to it, map it under `splits` in the card, or use another, e.g. --set evaluate.split=val."
            )
        return records

    def renamed(self, names: Mapping[str, str]) -> Dataset:
        """Return the dataset with other names for some classes, by their present ones, in all splits. Classes that get
        the same name, or that of another, are one class then."""
        if not names:
            return self
        records = tuple(replace(r, label=names[r.label]) if r.label in names else r for r in self.records)
        classes = renamed_classes(self.classes, names)
        taxonomy = self.taxonomy.renamed(names, classes) if self.taxonomy else None
        return replace(self, records=records, classes=tuple(classes), taxonomy=taxonomy)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what a model could learn from: ids, labels, splits, sizes, boxes. The same on every machine.

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


def renamed_classes(classes: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Return the classes under their new `names`, each at its former place; merged ones at that of the class that
    keeps its name, else of the first."""
    kept = {name for name in classes if name not in names}
    return list(dict.fromkeys(names.get(c, c) for c in classes if c in kept or names[c] not in kept))


def class_number(record: Record, class_index: Mapping[str, int]) -> int:
    """Return the index of the record's class, or -1 if it has no label. Raises `KeyError` for an unknown class."""
    return class_index[record.label] if record.label else -1


def by_id(records: Sequence[Record]) -> dict[str, Record]:
    """Return the records keyed by their id."""
    return {r.id: r for r in records}
