"""From a card to a dataset: read the layout, name the splits, check every image, refuse what cannot be trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from rsam_app.config import Card
from rsam_app.data.images.scan import ScanCache, cache_path, scan
from rsam_app.data.layouts import read_listing
from rsam_app.data.left_out import first_names
from rsam_app.data.records import UNLABELLED, Dataset, Record, Skipped
from rsam_app.data.split_names import Split, recognise_splits
from rsam_app.data.splits import complete_splits, name_splits
from rsam_app.data.taxonomy import read_taxonomy
from rsam_app.data.unlabelled import list_unlabelled, separate_unlabelled
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Progress


class Images(NamedTuple):
    """The images that a card describes, whether or not they suffice for training."""

    records: tuple[Record, ...]
    """Labelled or not; if the release has no splits, all labelled ones are `train`."""
    classes: tuple[str, ...]
    """The classes with a record, in the layout's order."""
    has_splits: bool
    splits: Mapping[Split, str]
    """RSAM's splits with their names in the release."""
    skipped: tuple[Skipped, ...]
    skipped_masks: tuple[Skipped, ...]
    notes: tuple[str, ...]


def load_dataset(
    card: Card, seed: int = 0, progress: Progress | None = None, first_labels: Mapping[str, str] | None = None
) -> Dataset:
    """Read and check the dataset that the card describes. The first time decodes every image, later only changed ones.

    If the images have labels of fewer than two classes, those in `first_labels` get theirs, by record id; their classes
    then follow in its order.
    `seed` only decides which images are held out as `val` if the release has none. A test split is held out if the
    release has neither `val` nor `test` and the card does not rule it out. Raises `UserError` for what you must
    fix: a missing root, a malformed list, too many broken images, a `train` split with images of fewer than two
    classes, a taxonomy that does not fit. Classes without an image in `train` are left out, with their images; if the
    card says so, refused.
    """
    images = _with_first_labels(load_images(card, progress), first_labels or {})
    boxed, box_notes = _drop_outside_boxes(images.records)
    given = {r.split for r in boxed}
    hold_out_test = "test" in card.splits and not given & {"val", "test"}
    records, split_notes = complete_splits(boxed, seed, hold_out_test)
    untrained = _untrained_classes(card, records, images.classes)
    left_out = [_without_training(r) for r in records if r.label in untrained]
    records = [r for r in records if r.label not in untrained]
    unlabelled = sum(r.split == UNLABELLED for r in records)
    blank = [f"{unlabelled:,} images have no label: they are predicted and selected from, not trained on"]
    classes = tuple(name for name in images.classes if name not in untrained)
    return Dataset(
        name=card.name,
        records=tuple(records),
        classes=classes,
        licence=card.licence,
        skipped=(*images.skipped, *left_out),
        skipped_masks=images.skipped_masks,
        notes=(*images.notes, *(blank if unlabelled else []), *split_notes, *_untrained_notes(untrained), *box_notes),
        taxonomy=read_taxonomy(card, classes),
    )


def load_images(card: Card, progress: Progress | None = None) -> Images:
    """Read and check the images of the card, even with too few labels for training, or none.

    Raises `UserError` as `load_dataset` does otherwise.
    """
    images = list_images(card)
    cache = ScanCache(cache_path(card.name, card.root_path))
    scanned = scan(images.records, cache, progress)
    unsaved = cache.save()
    _refuse_broken(card, scanned.skipped, len(images.records))
    return images._replace(
        records=scanned.records,
        skipped=scanned.skipped,
        skipped_masks=scanned.skipped_masks,
        notes=(*images.notes, *([unsaved] if unsaved else [])),
    )


def list_images(card: Card) -> Images:
    """List the images of the card without opening one: their sizes are 0, and none is skipped.

    Raises `UserError` as `load_images` does, except for damaged files.
    """
    listing = read_listing(card)
    splits, recognition_notes = recognise_splits(card.name, card.splits, {r.split for r in listing.records})
    labelled, unlabelled = separate_unlabelled(card.name, listing.records, splits)
    named, naming_notes = name_splits(card.name, labelled, splits)
    unlisted, unlisted_notes = list_unlabelled(card, listing.records)
    used = {r.label for r in named}
    return Images(
        records=(*named, *unlabelled, *unlisted),
        classes=tuple(name for name in listing.classes if name in used),
        has_splits=any(r.split for r in labelled),
        splits=splits,
        skipped=(),
        skipped_masks=(),
        notes=(*listing.notes, *recognition_notes, *naming_notes, *unlisted_notes),
    )


def _with_first_labels(images: Images, labels: Mapping[str, str]) -> Images:
    if len(images.classes) > 1:
        return images
    records = tuple(
        replace(r, label=labels[r.id], split="train") if not r.label and labels.get(r.id) else r for r in images.records
    )
    used = {r.label for r in records}
    classes = tuple(name for name in dict.fromkeys([*images.classes, *labels.values()]) if name in used)
    return images._replace(records=records, classes=classes)


def _refuse_broken(card: Card, skipped: Sequence[Skipped], listed: int) -> None:
    if len(skipped) > card.max_broken_share * listed:
        named = "; ".join(f"{s.path}: {s.reason}" for s in skipped[:3])
        raise UserError(
            f"card {card.name}: {len(skipped):,} of {listed:,} images cannot be used, e.g. {named}.\n"
            f"Fix or remove them, or raise `max_broken_share` (now {card.max_broken_share:g}) in the card."
        )


def _drop_outside_boxes(records: Sequence[Record]) -> tuple[tuple[Record, ...], list[str]]:
    """Drop boxes that do not touch their image; a box that reaches past its edge stays."""
    checked, outside = [], []
    for record in records:
        width, height = record.width, record.height
        inside = tuple(b for b in record.boxes if -b[2] < b[0] < width and -b[3] < b[1] < height)
        if len(inside) < len(record.boxes):
            outside.append(record.id)
        checked.append(replace(record, boxes=inside))
    note = f"boxes outside of their image are left out, in {len(outside):,} images, e.g. {', '.join(outside[:3])}"
    return tuple(checked), [note] if outside else []


def _untrained_classes(card: Card, records: Sequence[Record], classes: Sequence[str]) -> dict[str, int]:
    """Return the classes without an image in `train`, with the number of their images elsewhere.

    Raises `UserError` if fewer than two classes are left, or if there are any and the card refuses them.
    """
    training = Counter(r.label for r in records if r.split == "train")
    if not training and any(r.split == UNLABELLED for r in records):
        raise UserError(
            f"card {card.name}: no image to train on has a label yet.\n"
            "Label at least 2, of two classes: `rsam label CARD` shows the most informative ones in the App, and"
            " `rsam select-first PIPELINE` lists them."
        )
    if not training:
        raise UserError(
            f"card {card.name}: the split 'train' ({card.splits['train']!r} in the release) is empty.\n"
            "Add images to it, or map `train` to another split under `splits` in the card."
        )
    if len(classes) < 2 and any(r.split == UNLABELLED for r in records):
        count = sum(bool(r.label) for r in records)
        raise UserError(
            f"card {card.name}: {count:,} image{'s have' if count > 1 else ' has'} a label, all of one class,"
            f" {classes[0]!r}; a classifier needs two.\n"
            "Label at least 1 more, of another class: `rsam label CARD` shows the images without a label."
        )
    if len(classes) < 2:
        raise UserError(
            f"card {card.name}: has one class only, {classes[0]!r}; a classifier needs two.\n"
            "Add a second class, or correct `root` in the card: it may point one folder too deep or too high."
        )
    counts = Counter(r.label for r in records)
    untrained = {name: counts[name] for name in classes if not training[name]}
    if untrained and (card.untrained_classes == "refuse" or len(training) < 2):
        name, elsewhere = next(iter(untrained.items()))
        raise UserError(
            f"card {card.name}: the class {name!r} has no usable training image ({elsewhere:,} in other splits).\n"
            "Add at least one, correct the class name, or remove the class."
        )
    return untrained


def _without_training(record: Record) -> Skipped:
    return Skipped(record.path, f"its class {record.label!r} has no usable training image", record.id)


def _untrained_notes(untrained: Mapping[str, int]) -> list[str]:
    if not untrained:
        return []
    named = first_names([repr(name) for name in untrained])
    return [
        f"classes without a usable training image are left out ({len(untrained):,}): {named}"
        " (`untrained_classes: refuse` in the card makes this an error)"
    ]
