"""Near-duplicates in exports, told by embeddings of a run that knows all but one record."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsam_app.errors import UserError
from rsam_app.export import export
from rsam_app.export.near_duplicates import duplicate_groups, split_anew, without_duplicates
from rsam_app.predictions import embeddings_path, read_predictions


@pytest.fixture
def twins(aviary: Any) -> list[set[str]]:
    """Groups of records that the run's embeddings make near-duplicates: every tenth record and its successor, by id."""
    ids = sorted(read_predictions(aviary.run.predictions).column("id").to_pylist())
    rng = np.random.default_rng(0)
    vector = {record_id: rng.normal(size=32) for record_id in ids}
    groups = [{ids[k], ids[k + 1]} for k in range(0, 50, 10)]
    for first, second in (sorted(group) for group in groups):
        vector[second] = vector[first] + 0.01 * rng.normal(size=32)
    for split in ("train", "val", "test"):
        of_split = read_predictions(aviary.run.predictions, [split]).column("id").to_pylist()
        path = embeddings_path(aviary.run.predictions / f"{split}.parquet")
        np.save(path, np.array([vector[i] for i in of_split], dtype=np.float16))
    return groups


def found_groups(aviary: Any) -> dict[str, int]:
    return duplicate_groups(aviary.run, [i.record.id for i in aviary.items])


def test_groups_are_those_of_the_embeddings(aviary: Any, twins: list[set[str]]) -> None:
    groups = found_groups(aviary)
    by_number: dict[int, set[str]] = {}
    for record_id, number in groups.items():
        by_number.setdefault(number, set()).add(record_id)
    assert sorted(map(sorted, by_number.values())) == sorted(map(sorted, twins))


def test_one_of_each_group_is_kept_that_of_a_test_split_first(aviary: Any, twins: list[set[str]]) -> None:
    kept, note = without_duplicates(aviary.items, found_groups(aviary))
    split = {i.record.id: i.record.split for i in aviary.items}
    ids = {i.record.id for i in kept}
    assert [i for i in aviary.items if i.record.id in ids] == kept
    assert len(kept) == len(aviary.items) - len(twins) and note.startswith(f"{len(twins)} near-duplicates")
    for group in twins:
        (left,) = group & ids
        assert split[left] == "test" or not any(split[i] == "test" for i in group)


def test_new_splits_part_no_group_and_keep_shares(aviary: Any, twins: list[set[str]], tmp_path: Path) -> None:
    groups = found_groups(aviary)
    items, note = split_anew(aviary.items, groups, 0.25, seed=3)
    split = {i.record.id: i.record.split for i in items}
    assert Counter(split.values())["test"] == pytest.approx(len(items) / 4, abs=4)
    assert all(len({split[i] for i in group}) == 1 for group in twins)
    classes = Counter(i.label for i in items)
    tested = Counter(i.label for i in items if i.record.split == "test")
    assert all(tested[name] == pytest.approx(count / 4, abs=2) for name, count in classes.items())
    assert split_anew(aviary.items[::-1], groups, 0.25, seed=3)[0][::-1] == items
    assert split_anew(aviary.items, groups, 0.25, seed=4)[0] != items
    report = export(items, "folder", tmp_path / "out", source=aviary.source, notes=[note])
    assert set(report.splits) == {"train", "test"}
    assert note in (tmp_path / "out" / "DATA_CARD.md").read_text(encoding="utf-8")


def test_what_cannot_be_split_is_said(aviary: Any, twins: list[set[str]]) -> None:
    for share in (0.0, 0.7, -1.0):
        with pytest.raises(UserError, match="expected a share above 0"):
            split_anew(aviary.items, {}, share, seed=0)
    with pytest.raises(UserError, match=r"3 images of .* classes are too few"):
        split_anew(aviary.items[:3], {}, 0.1, seed=0)


def test_a_run_without_embeddings_says_how_to_get_them(aviary: Any) -> None:
    with pytest.raises(UserError, match="has no embeddings beside it"):
        found_groups(aviary)
