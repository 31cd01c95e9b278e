from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsam_app.data.records import Record
from rsam_app.data.splits import complete_splits, hold_out, name_splits
from rsam_app.system.errors import UserError

SPLITS = {"train": "train", "val": "val", "test": "test"}


def records(counts: dict[str, int], split: str = "train") -> list[Record]:
    return [Record(f"{c}/{n}.jpg", Path(c), c, split) for c, count in counts.items() for n in range(count)]


counts_of_classes = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.integers(1, 40), min_size=1, max_size=12
)


@given(counts_of_classes, st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 3))
@settings(deadline=None, max_examples=80)
def test_held_out_share_is_exact_stratified_and_leaves_every_class_in_train(counts, share, seed) -> None:
    held = Counter(r.label for r in hold_out(records(counts), "val", share, str(seed)) if r.split == "val")
    total = sum(counts.values())
    assert sum(held.values()) == min(max(1, int(share * total + 0.5)), total - len(counts))
    for label, count in counts.items():
        assert held[label] < count
    if all(count >= 2 / share for count in counts.values()):  # no class is held back by the rule above
        assert all(abs(held[label] - share * count) <= 1 for label, count in counts.items())


@given(st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=20)
def test_neither_order_nor_random_state_matters(shuffler) -> None:
    listed = records({"auk": 30, "wren": 21, "tern": 1})
    expected = {r.id: r.split for r in hold_out(listed, "val", 0.1, "0")}
    shuffler.shuffle(listed)
    random.seed(shuffler.random())
    held = hold_out(listed, "val", 0.1, "0")
    assert {r.id: r.split for r in held} == expected
    assert [r.id for r in held] == [r.id for r in listed]


def test_the_seed_matters() -> None:
    listed = records({"auk": 30, "wren": 30})
    chosen = {tuple(r.id for r in hold_out(listed, "val", 0.1, str(s)) if r.split == "val") for s in range(5)}
    assert len(chosen) == 5


def test_one_image_more_or_less_moves_few_others() -> None:
    listed = records({"auk": 40, "wren": 40})
    before = {r.id for r in hold_out(listed, "val", 0.1, "0") if r.split == "val"}
    after = {r.id for r in hold_out(listed[1:], "val", 0.1, "0") if r.split == "val"}
    assert len(before ^ after) <= 2


def test_val_comes_from_train_alone_and_a_given_val_stays() -> None:
    listed = records({"auk": 20, "wren": 20}) + [Record(f"t{n}", Path(), "auk", "test") for n in range(20)]
    completed, notes = complete_splits(listed, 0, hold_out_test=False)
    assert Counter(r.split for r in completed) == {"train": 36, "val": 4, "test": 20}
    assert {r.id for r in completed if r.split == "test"} == {f"t{n}" for n in range(20)}
    assert "4 images" in notes[0]
    assert "seed 0" in notes[0]
    assert complete_splits(completed, 1, hold_out_test=False) == (completed, [])


def test_a_held_out_test_split_is_the_same_for_every_seed_while_val_is_not() -> None:
    listed = records({"auk": 50, "wren": 50})
    first, notes = complete_splits(listed, 0, hold_out_test=True)
    second, _ = complete_splits(listed, 1, hold_out_test=True)
    assert Counter(r.split for r in first) == {"train": 72, "val": 8, "test": 20}
    assert [r.split == "test" for r in first] == [r.split == "test" for r in second]
    assert first != second
    assert "every seed" in notes[0]


def test_no_image_to_spare_is_said() -> None:
    completed, notes = complete_splits(records({"auk": 1, "wren": 1}), 0, hold_out_test=True)
    assert {r.split for r in completed} == {"train"}
    assert notes == [f"no {s} split, and no class has an image to spare for one" for s in ("test", "val")]


def test_splits_are_named_as_the_card_says() -> None:
    listed = records({"auk": 2}, "trainval") + records({"wren": 3}, "test")
    named, notes = name_splits("pets", listed, {"train": "trainval", "test": "test"})
    assert Counter(r.split for r in named) == {"train": 2, "test": 3}
    assert notes == []


def test_a_split_that_the_card_does_not_name_is_left_out_and_counted() -> None:
    listed = records({"auk": 2}) + records({"wren": 3}, "pool")
    named, notes = name_splits("birds", listed, {"train": "train"})
    assert len(named) == 2
    assert "3 images of the split 'pool'" in notes[0]


def test_a_misspelt_split_is_an_error_that_names_both() -> None:
    with pytest.raises(UserError) as caught:
        name_splits("birds", records({"auk": 2}) + records({"wren": 3}, "validation"), SPLITS)
    assert "'val'" in str(caught.value)
    assert "`val: validation`" in str(caught.value)


def test_a_split_that_is_simply_not_there_is_no_error() -> None:
    assert len(name_splits("birds", records({"auk": 2}), SPLITS)[0]) == 2
