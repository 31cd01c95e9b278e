"""Near-duplicates in exports, detected by the images alone."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rsam_app.export.deduplicate import DuplicateGroups, find_duplicate_groups, resplit, without_duplicates
from rsam_app.export.subset import export
from rsam_app.system.errors import UserError

NONE = DuplicateGroups({}, (), {})


@pytest.fixture
def twins(aviary: Any) -> list[set[str]]:
    """Groups of records with equal files: every tenth record and its successor, by id."""
    by_id = {item.record.id: item.record for item in aviary.items}
    ids = sorted(by_id)
    groups = [{ids[k], ids[k + 1]} for k in range(0, 50, 10)]
    for first, second in (sorted(group) for group in groups):
        shutil.copyfile(by_id[first].path, by_id[second].path)
    return groups


def found_twins(aviary: Any) -> DuplicateGroups:
    return find_duplicate_groups([i.record for i in aviary.items], aviary.dataset.records)


def test_groups_are_those_of_the_images(aviary: Any, twins: list[set[str]]) -> None:
    found = found_twins(aviary)
    by_number: dict[int, set[str]] = {}
    for record_id, number in found.groups.items():
        by_number.setdefault(number, set()).add(record_id)
    assert sorted(map(sorted, by_number.values())) == sorted(map(sorted, twins))
    again = {frozenset(pair) for pair in found.same.items() if pair[0] != pair[1]}
    assert again == {frozenset(group) for group in twins} and found.pairs == found.notes == ()


def test_one_of_each_group_is_kept_preferably_from_the_test_split(aviary: Any, twins: list[set[str]]) -> None:
    kept, note = without_duplicates(aviary.items, found_twins(aviary))
    split = {i.record.id: i.record.split for i in aviary.items}
    ids = {i.record.id for i in kept}
    assert [i for i in aviary.items if i.record.id in ids] == kept
    assert len(kept) == len(aviary.items) - len(twins) and note.startswith(f"{len(twins)} near-duplicates")
    for group in twins:
        (left,) = group & ids
        assert split[left] == "test" or not any(split[i] == "test" for i in group)


def test_new_splits_keep_groups_together_and_shares(aviary: Any, twins: list[set[str]], tmp_path: Path) -> None:
    found = found_twins(aviary)
    items, note = resplit(aviary.items, found, 0.25, seed=3)
    split = {i.record.id: i.record.split for i in items}
    assert Counter(split.values())["test"] == pytest.approx(len(items) / 4, abs=4)
    assert all(len({split[i] for i in group}) == 1 for group in twins)
    classes = Counter(i.label for i in items)
    tested = Counter(i.label for i in items if i.record.split == "test")
    assert all(tested[name] == pytest.approx(count / 4, abs=2) for name, count in classes.items())
    assert resplit(aviary.items[::-1], found, 0.25, seed=3)[0][::-1] == items
    assert resplit(aviary.items, found, 0.25, seed=4)[0] != items
    report = export(items, "folder", tmp_path / "out", source=aviary.source, notes=[note])
    assert set(report.splits) == {"train", "test"}
    assert note in (tmp_path / "out" / "DATA_CARD.md").read_text(encoding="utf-8")


def test_impossible_splits_are_rejected(aviary: Any, twins: list[set[str]]) -> None:
    for share in (0.0, 0.7, -1.0):
        with pytest.raises(UserError, match="expected a share above 0"):
            resplit(aviary.items, NONE, share, seed=0)
    with pytest.raises(UserError, match=r"3 images of .* classes are too few"):
        resplit(aviary.items[:3], NONE, 0.1, seed=0)


def test_only_a_kept_image_excludes_another(aviary: Any) -> None:
    """A chain: first and second are near-duplicates, second and third too, but not first and third."""
    items = [replace(item, record=replace(item.record, split="train"), excluded=False) for item in aviary.items[:4]]
    a, b, c, d = (item.record.id for item in items)
    chain = DuplicateGroups({}, ((a, b), (b, c)), {a: 0, b: 0, c: 0})
    kept, note = without_duplicates(items, chain)
    assert [item.record.id for item in kept] == [a, c, d] and note.startswith("1 near-duplicates")
    excluded = [replace(items[0], excluded=True), *items[1:]]
    assert [item.record.id for item in without_duplicates(excluded, chain)[0]] == [a, b, d]
    equal = DuplicateGroups({a: a, b: b, c: a, d: a}, ((a, b),), {a: 0, b: 0, c: 0, d: 0})
    assert [item.record.id for item in without_duplicates(items[1:], equal)[0]] == [b]
    assert [item.record.id for item in without_duplicates(items[2:], equal)[0]] == [c]
