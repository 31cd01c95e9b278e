"""Splits: from the release's names to `train`, `val` and `test`, and held-out images for a missing one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from rsam_app.data.records import UNLABELLED, Record
from rsam_app.system.errors import UserError
from rsam_app.system.files import sha256_of

VAL_SHARE = 0.1
TEST_SHARE = 0.2
NO_TEST = (
    "no test split: val is evaluated instead, though it also chooses the best epoch;"
    " add test images, or remove val: then both are held out from train"
)
"""Note on a dataset with `val` but without `test`."""


def name_splits(
    name: str, records: Sequence[Record], names: Mapping[Literal["train", "val", "test"], str]
) -> tuple[list[Record], list[str]]:
    """Give records RSAM's split names; returns them, and notes on those left out.

    `names` maps RSAM's splits to the release's. If the release has no splits (`""` on every record), all records are
    `train`. Images of a split that `names` does not mention are left out. Raises `UserError` if in addition `names`
    mentions a split that the release lacks: probably the same one, misspelt.
    """
    if all(r.split == "" for r in records):
        return [replace(r, split="train") for r in records], []
    named = {release: split for split, release in names.items()}
    counts = Counter(r.split for r in records)
    unnamed = sorted(set(counts) - set(named))
    lacking = [(split, release) for split, release in names.items() if release not in counts]
    if unnamed and lacking:
        split, release = lacking[0]
        otherwise = "" if split == "train" else f", or remove {split} from `splits`"
        raise UserError(
            f"card {name}: splits: {release!r} ({split}) is not in the data, which has {', '.join(sorted(counts))}.\n"
            f"Correct it in the card, e.g. `{split}: {unnamed[0]}`{otherwise}."
        )
    notes = [f"{counts[s]:,} images of the split {s!r} are left out: the card does not name it" for s in unnamed]
    return [replace(r, split=named[r.split]) for r in records if r.split in named], notes


def complete_splits(records: Sequence[Record], seed: int, hold_out_test: bool) -> tuple[list[Record], list[str]]:
    """Hold out the missing splits from `train`, and note it; a release's own splits are never touched.

    With `hold_out_test`, first a fifth of each class is held out as `test`; it depends only on the ids, so that runs
    with different seeds are tested on the same images. Without `val`, a tenth of each class in `train` is held out, by
    `seed`.
    """
    completed, notes = list(records), []
    given_val = any(r.split == "val" for r in completed)
    if hold_out_test:
        completed = hold_out(completed, "test", TEST_SHARE, "test")
        notes.append(_note(completed, "test", "about a fifth of each class", "the same for every seed"))
    elif given_val and not any(r.split == "test" for r in completed):
        notes.append(NO_TEST)
    if not given_val:
        completed = hold_out(completed, "val", VAL_SHARE, str(seed))
        notes.append(_note(completed, "val", "about a tenth of each class in train", f"by seed {seed}"))
    return completed, notes


def hold_out(records: Sequence[Record], target: str, share: float, key: str) -> list[Record]:
    """Move about `share` of each class in `train` to the split `target`; returns all records in their order.

    A record is held out if its place, a hash of `key` and its id in [0, 1), is below `share`. So the choice depends
    neither on order nor on other records, and adding or removing some moves no other, with three exceptions:

    - A class of at least 1 / `share` images without one below `share` lends its lowest, until it has one.
    - A class with all images below `share` keeps its highest in train, until it has another.
    - If nothing would be held out, the lowest image of all classes with two or more is.
    """
    places: dict[str, dict[str, float]] = defaultdict(dict)
    for record in records:
        if record.split == "train":
            places[record.label][record.id] = _place(key, record.id)
    held = {i for of_class in places.values() for i in _lowest(of_class, share)}
    if not held:
        spare = {i: place for of_class in places.values() if len(of_class) > 1 for i, place in of_class.items()}
        held = set(sorted(spare, key=spare.__getitem__)[:1])
    return [replace(r, split=target) if r.split == "train" and r.id in held else r for r in records]


def _lowest(places: Mapping[str, float], share: float) -> list[str]:
    """Return the ids of a class that are held out, by the places of all its ids."""
    count = max(sum(place < share for place in places.values()), int(share * len(places)) > 0)
    return sorted(places, key=places.__getitem__)[: min(count, len(places) - 1)]


def _place(key: str, record_id: str) -> float:
    return int(sha256_of(f"{key}\0{record_id}")[:13], 16) / 16**13


def _note(records: Sequence[Record], split: str, part: str, how: str) -> str:
    held = sum(r.split == split for r in records)
    if not held:
        return f"no {split} split, and no class has an image to spare for one"
    classes = {r.label for r in records if r.split != UNLABELLED}
    absent = len(classes) - len({r.label for r in records if r.split == split})
    without = (
        f"; {absent:,} of {len(classes):,} classes {'has' if absent == 1 else 'have'} none in it" if absent else ""
    )
    return f"no {split} split: {part} ({held:,} image{'s' * (held > 1)}) is held out, {how}{without}"
