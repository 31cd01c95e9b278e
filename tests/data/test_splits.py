from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsam_app.data import splits
from rsam_app.data.records import Record
from rsam_app.data.splits import complete_splits, hold_out, name_splits
from rsam_app.system.errors import UserError

SPLITS = {"train": "train", "val": "val", "test": "test"}


def records(counts: dict[str, int], split: str = "train") -> list[Record]:
    return [Record(f"{c}/{n}.jpg", Path(c), c, split) for c, count in counts.items() for n in range(count)]


counts_of_classes = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.integers(1, 40), min_size=1, max_size=12
)


def held_ids(listed: list[Record], share: float = 0.1, key: str = "0") -> set[str]:
    return {r.id for r in hold_out(listed, "val", share, key) if r.split == "val"}


@given(counts_of_classes, st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 3))
@settings(deadline=None, max_examples=80)
def test_each_class_keeps_an_image_in_train_and_holds_out_one_if_its_share_is_one(counts, share, seed) -> None:
    held = Counter(i.partition("/")[0] for i in held_ids(records(counts), share, str(seed)))
    for label, count in counts.items():
        assert held[label] < count
        if count > 1 and count * share >= 1:
            assert held[label] >= 1
    assert held.total() >= any(count > 1 for count in counts.values())


def test_about_the_share_of_each_class_is_held_out() -> None:
    counts = dict.fromkeys("abcdefghij", 400)
    held = Counter(i.partition("/")[0] for i in held_ids(records(counts), 0.2))
    assert held.total() == pytest.approx(800, abs=4 * 25.3)  # four standard deviations of the binomial distribution
    assert all(count == pytest.approx(80, abs=4 * 8) for count in held.values())


@given(counts_of_classes, counts_of_classes, st.sampled_from([0.1, 0.2]), st.integers(0, 3))
@settings(deadline=None, max_examples=120)
def test_added_images_move_no_other_unless_its_class_lent_one(before, added, share, seed) -> None:
    old = records(before)
    new = old + [Record(f"{c}/new{n}.jpg", Path(c), c, "train") for c, count in added.items() for n in range(count)]
    was, now = held_ids(old, share, str(seed)), held_ids(new, share, str(seed))
    place = {r.id: splits._place(str(seed), r.id) for r in old}
    moved = (was ^ now) & set(place)
    for record_id in moved:  # those of the docstring's exceptions alone
        of_class = [i for i in place if i.partition("/")[0] == record_id.partition("/")[0]]
        below = [i for i in of_class if place[i] < share]
        assert not below or len(below) == len(of_class)
    assert len(moved) <= len(before) + 1


def test_images_come_and_go_without_moving_others() -> None:
    listed = records({"auk": 60, "wren": 60})
    held = held_ids(listed)
    more = listed + [Record(f"auk/new{n}.jpg", Path(), "auk", "train") for n in range(500)]
    assert held_ids(more) & {r.id for r in listed} == held
    assert held_ids(listed[20:100]) == held & {r.id for r in listed[20:100]}
    assert all(sum(i.startswith(label) for i in held & {r.id for r in listed[20:100]}) for label in ("auk", "wren"))


def test_the_label_of_an_image_does_not_decide_its_split() -> None:
    listed = records({"auk": 60, "wren": 60})
    relabelled = [replace(r, label="wren") if r.id in {"auk/3.jpg", "auk/4.jpg"} else r for r in listed]
    assert held_ids(relabelled) == held_ids(listed)


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


def test_val_comes_from_train_alone_and_a_given_val_stays() -> None:
    listed = records({"auk": 20, "wren": 20}) + [Record(f"t{n}", Path(), "auk", "test") for n in range(20)]
    completed, notes = complete_splits(listed, 0, hold_out_test=False)
    counts = Counter(r.split for r in completed)
    assert counts == {"train": 40 - counts["val"], "val": counts["val"], "test": 20}
    assert {r.id for r in completed if r.split == "test"} == {f"t{n}" for n in range(20)}
    assert f"({counts['val']} images)" in notes[0]
    assert "seed 0" in notes[0]
    assert complete_splits(completed, 1, hold_out_test=False) == (completed, [])


def test_a_held_out_test_split_is_the_same_for_every_seed_while_val_is_not() -> None:
    listed = records({"auk": 50, "wren": 50})
    first, notes = complete_splits(listed, 0, hold_out_test=True)
    second, _ = complete_splits(listed, 1, hold_out_test=True)
    assert set(Counter(r.split for r in first)) == {"train", "val", "test"}
    assert [r.split == "test" for r in first] == [r.split == "test" for r in second]
    assert first != second
    assert "every seed" in notes[0]


def test_a_missing_test_split_beside_a_given_val_is_said_and_nothing_moves() -> None:
    listed = records({"auk": 20, "wren": 20}) + [Record(f"v{n}", Path(), "auk", "val") for n in range(5)]
    assert complete_splits(listed, 0, hold_out_test=False) == (listed, [splits.NO_TEST])


def test_no_image_to_spare_is_said() -> None:
    completed, notes = complete_splits(records({"auk": 1, "wren": 1}), 0, hold_out_test=True)
    assert {r.split for r in completed} == {"train"}
    assert notes == [f"no {s} split, and no class has an image to spare for one" for s in ("test", "val")]


def test_classes_without_a_held_out_image_are_counted() -> None:
    blank = Record("x.jpg", Path(), "", "unlabelled")
    completed, notes = complete_splits([*records({"auk": 40, "wren": 1, "tern": 1}), blank], 0, hold_out_test=True)
    assert {r.label for r in completed if r.split in ("val", "test")} == {"auk"}
    assert all(note.endswith("; 2 of 3 classes have none in it") for note in notes)


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
