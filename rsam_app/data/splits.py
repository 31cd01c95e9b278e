"""Splits: from the release's names to `train`, `val` and `test`, and held-out images for a missing one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from rsam_app.data.records import Record
from rsam_app.system.errors import UserError
from rsam_app.system.files import sha256_of

VAL_SHARE = 0.1
TEST_SHARE = 0.2


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
    """Hold out the missing splits from `train`, and note it; a release's test split is never touched.

    Without `val`, a stratified tenth of `train` is held out, by `seed`. With `hold_out_test` (the release has no splits
    and the card wants a test split), first a stratified fifth is held out as `test`; it depends only on the ids, so
    that runs with different seeds are tested on the same images.
    """
    completed, notes = list(records), []
    if hold_out_test:
        completed = hold_out(completed, "test", TEST_SHARE, "test")
        notes.append(_note(completed, "test", "a stratified fifth", "the same for every seed"))
    if not any(r.split == "val" for r in completed):
        completed = hold_out(completed, "val", VAL_SHARE, str(seed))
        notes.append(_note(completed, "val", "a stratified tenth of train", f"by seed {seed}"))
    return completed, notes


def hold_out(records: Sequence[Record], target: str, share: float, key: str) -> list[Record]:
    """Move a stratified `share` of `train` to the split `target`; returns all records in their order.

    The total is `share` of train, rounded, at least 1. Each class gives its part, the classes with the largest
    remainders one more, and every class keeps at least one image in train. The choice depends only on `key`, the class
    names and the record ids, not on the records' order or on a random state.
    """
    classes: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.split == "train":
            classes[record.label].append(record.id)
    quotas = _quotas({label: len(ids) for label, ids in classes.items()}, share, key)
    held = {
        i for label, ids in classes.items() for i in sorted(ids, key=lambda i: _rank(key, label, i))[: quotas[label]]
    }
    return [replace(r, split=target) if r.id in held else r for r in records]


def _note(records: Sequence[Record], split: str, part: str, how: str) -> str:
    held = sum(r.split == split for r in records)
    if not held:
        return f"no {split} split, and no class has an image to spare for one"
    return f"no {split} split: {part} ({held:,} images) is held out, {how}"


def _quotas(counts: Mapping[str, int], share: float, key: str) -> dict[str, int]:
    spare = sum(n - 1 for n in counts.values())
    total = min(max(1, int(share * sum(counts.values()) + 0.5)), spare)
    quotas = {label: int(share * n) for label, n in counts.items()}
    by_remainder = sorted(counts, key=lambda c: (quotas[c] - share * counts[c], _rank(key, c, "")))
    while sum(quotas.values()) < total:
        for label in by_remainder:
            if sum(quotas.values()) < total and quotas[label] < counts[label] - 1:
                quotas[label] += 1
    return quotas


def _rank(*parts: str) -> str:
    return sha256_of("\0".join(parts))
