"""Near-duplicates in an export: one of each kept, or all of them on one side of a new split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rsam_app.errors import UserError
from rsam_app.export.item import ExportItem
from rsam_app.predictions import read_embeddings, read_predictions
from rsam_app.review.alike import NEAR, find_alike
from rsam_app.run_folder import RunFolder


def duplicate_groups(run: RunFolder, ids: Sequence[str]) -> dict[str, int]:
    """A number for each of these records that has near-duplicates among them by the run's embeddings; the same number
    for images that are nearly the same, or linked by such. Records that the run did not predict have none.

    Raises `UserError` where the run has no embeddings.
    """
    known = read_predictions(run.predictions).column("id").to_pylist()
    embeddings, wanted = read_embeddings(run.predictions), set(ids)
    rows = [row for row, record_id in enumerate(known) if record_id in wanted]
    alike = find_alike(embeddings[rows], np.zeros(len(rows), dtype=np.int64))
    return {known[row]: int(group) for row, group in zip(rows, alike.group, strict=True) if group >= 0}


def without_duplicates(items: Sequence[ExportItem], groups: Mapping[str, int]) -> tuple[list[ExportItem], str]:
    """The first item of each group and all that are in none, in their order; and a note that counts the others.

    Records in a test split come before others, so that a test split stays as large as it was.
    """
    first: dict[int, str] = {}
    for item in sorted(items, key=lambda item: item.record.split != "test"):
        if item.record.id in groups:
            first.setdefault(groups[item.record.id], item.record.id)
    kept = [i for i in items if i.record.id not in groups or first[groups[i.record.id]] == i.record.id]
    note = f"{len(items) - len(kept)} near-duplicates (cosine of embeddings ≥ {NEAR:g}) of kept images are left out"
    return kept, note


def split_anew(
    items: Sequence[ExportItem], groups: Mapping[str, int], test_share: float, seed: int
) -> tuple[list[ExportItem], str]:
    """The items in new splits, about `test_share` of each class in `test` and the others in `train`, near-duplicates on
    one side; and a note that says so. The same items, groups and seed give the same splits.

    Raises `UserError` for a share outside of (0, .5], and where so few images have no such split.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if not 0 < test_share <= 0.5:
        raise UserError(f"export --test-share {test_share:g}: expected a share above 0 and up to 0.5, e.g. 0.2.")
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
        f" near-duplicates (cosine of embeddings ≥ {NEAR:g}) is on one side"
    )
    return split, note
