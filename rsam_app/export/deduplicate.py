"""Near-duplicates in an export: one of each kept, or all of them on one side of a new split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rsam_app.data.near_duplicates import RULE
from rsam_app.data.records import Record
from rsam_app.export.items import ExportItem
from rsam_app.system.errors import UserError
from rsam_app.system.progress import StepProgress


@dataclass(frozen=True)
class DuplicateGroups:
    """Which of some records are the same photograph: `same`, the same id for each of those that look exactly the same,
    `pairs` of such ids, and `groups`, the same number for each of those that are linked, directly or through others."""

    same: Mapping[str, str]
    pairs: tuple[tuple[str, str], ...]
    groups: Mapping[str, int]
    notes: tuple[str, ...] = ()


def find_duplicate_groups(
    records: Sequence[Record], within: Sequence[Record], progress: StepProgress | None = None
) -> DuplicateGroups:
    """The near-duplicates among `records`, some of those of the dataset `within`."""
    from rsam_app.data.near_duplicates.find import find_duplicates  # imports torch

    found = find_duplicates(records, within, progress)
    ids = [record.id for record in records]
    groups = {ids[row]: group for row, group in enumerate(found.groups().tolist()) if group >= 0}
    same = {ids[row]: ids[first] for row, first in enumerate(found.same.tolist())}
    return DuplicateGroups(same, tuple((ids[a], ids[b]) for a, b in found.pairs.tolist()), groups, tuple(found.notes()))


def without_duplicates(items: Sequence[ExportItem], twins: DuplicateGroups) -> tuple[list[ExportItem], str]:
    """The items of which no near-duplicate is kept, in their order; and a note that counts the others.

    Records in a test split come before others, so that a test split stays as large as it was. What a person excluded
    takes nobody's place. An image is left out only for one that it is the same photograph as itself: that both are like
    a third does not count.
    """
    others: dict[str, set[str]] = {}
    for first, second in twins.pairs:
        others.setdefault(first, set()).add(second)
        others.setdefault(second, set()).add(first)
    kept: set[str] = set()
    taken: set[str] = set()
    for item in sorted(items, key=lambda item: item.record.split != "test"):
        shown = twins.same.get(item.record.id, item.record.id)
        if not item.excluded and not taken & {shown, *others.get(shown, ())}:
            kept.add(item.record.id)
            taken.add(shown)
    left = [item for item in items if item.excluded or item.record.id in kept]
    return left, f"{len(items) - len(left)} near-duplicates of kept images are left out ({RULE})"


def resplit(
    items: Sequence[ExportItem], twins: DuplicateGroups, test_share: float, seed: int
) -> tuple[list[ExportItem], str]:
    """The items in new splits, about `test_share` of each class in `test` and the others in `train`, near-duplicates on
    one side; and a note that says so. The same items, twins and seed give the same splits.

    Raises `UserError` for a share outside of (0, .5], and where so few images have no such split.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if not 0 < test_share <= 0.5:
        raise UserError(f"export --test-share {test_share:g}: expected a share above 0 and up to 0.5, e.g. 0.2.")
    groups = twins.groups
    folds = round(1 / test_share)
    ordered = sorted(range(len(items)), key=lambda i: items[i].record.id)
    labels = np.array([items[i].label for i in ordered])
    alone = max(groups.values(), default=-1) + 1
    group = np.array([groups.get(items[i].record.id, alone + place) for place, i in enumerate(ordered)])
    if len(set(group.tolist())) < folds or np.unique(labels, return_counts=True)[1].max() < folds:
        raise UserError(
            f"export --test-share {test_share:g}: {len(items)} images of {len(set(labels))} classes are too few.\n"
            "Tag more images, or take a larger share."
        )
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    _, test = next(iter(splitter.split(np.zeros(len(labels)), labels, group)))
    tested = {ordered[place] for place in test}
    split = [
        replace(i, record=replace(i.record, split="test" if k in tested else "train")) for k, i in enumerate(items)
    ]
    shared = len(set(groups.values()))
    note = (
        f"the splits were made anew (seed {seed}): {len(tested)} images to test on; each of {shared} groups of"
        f" near-duplicates is on one side ({RULE})"
    )
    return split, note
