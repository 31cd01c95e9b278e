"""Near-duplicates in an export: keep one of each group, or put all of them on one side of a new split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rsam_app.data.near_duplicates import CRITERION
from rsam_app.data.records import Record
from rsam_app.export.items import ExportItem
from rsam_app.system.errors import UserError
from rsam_app.system.progress import StepProgress


@dataclass(frozen=True)
class DuplicateGroups:
    """Near-duplicates among records: `same` maps those with equal images to one id, `pairs` are pairs of such ids, and
    `groups` has one number for all that are linked, directly or through others."""

    same: Mapping[str, str]
    pairs: tuple[tuple[str, str], ...]
    groups: Mapping[str, int]
    notes: tuple[str, ...] = ()


def find_duplicate_groups(
    records: Sequence[Record], within: Sequence[Record], progress: StepProgress | None = None
) -> DuplicateGroups:
    """Find the near-duplicates among `records`, a part of the dataset's records `within`."""
    from rsam_app.data.near_duplicates.find import find_duplicates  # imports torch

    duplicates = find_duplicates(records, within, progress)
    ids = [record.id for record in records]
    groups = {ids[row]: group for row, group in enumerate(duplicates.groups().tolist()) if group >= 0}
    same = {ids[row]: ids[first] for row, first in enumerate(duplicates.same.tolist())}
    pairs = tuple((ids[a], ids[b]) for a, b in duplicates.pairs.tolist())
    return DuplicateGroups(same, pairs, groups, tuple(duplicates.notes()))


def without_duplicates(items: Sequence[ExportItem], twins: DuplicateGroups) -> tuple[list[ExportItem], str]:
    """Drop items with a near-duplicate that stays; returns the others in their order, and a note with the count.

    Records of a test split are kept first, so that it keeps its size. Excluded items displace no other. An image is
    dropped only for its own near-duplicate, not because both resemble a third image.
    """
    others: dict[str, set[str]] = defaultdict(set)
    for first, second in twins.pairs:
        others[first].add(second)
        others[second].add(first)
    kept: set[str] = set()  # records
    taken: set[str] = set()  # images
    for item in sorted(items, key=lambda item: item.record.split != "test"):
        image = twins.same.get(item.record.id, item.record.id)
        if not item.excluded and not taken & {image, *others[image]}:
            kept.add(item.record.id)
            taken.add(image)
    remaining = [item for item in items if item.excluded or item.record.id in kept]
    return remaining, f"{len(items) - len(remaining)} near-duplicates of other images are left out ({CRITERION})"


def resplit(
    items: Sequence[ExportItem], twins: DuplicateGroups, test_share: float, seed: int
) -> tuple[list[ExportItem], str]:
    """Assign new splits, about `test_share` of each class to `test` and the others to `train`, near-duplicates to one
    side; returns the items and a note. The same items, twins and seed give the same splits.

    Raises `UserError` for a share outside (0, .5], and if there are too few images.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if not 0 < test_share <= 0.5:
        raise UserError(f"export --test-share {test_share:g}: expected a share above 0 and up to 0.5, e.g. 0.2.")
    groups = twins.groups
    folds = round(1 / test_share)
    ordered = sorted(range(len(items)), key=lambda i: items[i].record.id)
    labels = np.array([items[i].label for i in ordered])
    alone = max(groups.values(), default=-1) + 1
    group = np.array([groups.get(items[i].record.id, alone + position) for position, i in enumerate(ordered)])
    if len(set(group.tolist())) < folds or np.unique(labels, return_counts=True)[1].max() < folds:
        raise UserError(
            f"export --test-share {test_share:g}: {len(items)} images of {len(set(labels))} classes are too few.\n"
            "Tag more images, or increase the share."
        )
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    _, test = next(iter(splitter.split(np.zeros(len(labels)), labels, group)))
    tested = {ordered[position] for position in test}
    split = [
        replace(i, record=replace(i.record, split="test" if k in tested else "train")) for k, i in enumerate(items)
    ]
    shared = len(set(groups.values()))
    note = (
        f"new splits (seed {seed}): {len(tested)} test images; each of {shared} groups of near-duplicates is on one"
        f" side ({CRITERION})"
    )
    return split, note
