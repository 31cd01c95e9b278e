from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsam_app.data.records import Dataset, Record
from rsam_app.run.trained_on import keep_in_train, training_ids
from rsam_app.system.errors import UserError

SPLITS = {"a": "train", "b": "val", "c": "test", "d": "test", "e": "unlabelled"}


@pytest.fixture
def birds() -> Dataset:
    return Dataset("birds", tuple(Record(i, Path(i), "auk", s) for i, s in SPLITS.items()), ("auk", "wren"), "ours")


def test_without_an_overlap_nothing_changes(birds: Dataset) -> None:
    measured = keep_in_train(birds, frozenset({"a", "gone"}))
    assert measured.dataset is birds
    assert measured.lines() == []


def test_images_that_were_trained_on_leave_val_and_test_and_are_named(birds: Dataset) -> None:
    measured = keep_in_train(birds, frozenset({"a", "b", "c", "e"}))
    assert {r.id: r.split for r in measured.dataset.records} == SPLITS | {"b": "train", "c": "train"}
    assert measured.moved == {"val": ("b",), "test": ("c",)}
    assert measured.lines() == [
        "val: 1 image is left out, as this run was trained on them: b",
        "test: 1 image is left out, as this run was trained on them: c",
    ]


def test_a_damaged_list_of_training_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training_records.json"
    assert training_ids(path) == frozenset()
    path.write_text(json.dumps(["ä", "b"]), encoding="utf-8")
    assert training_ids(path) == {"ä", "b"}
    for damaged in ('["a"', '{"a": 1}', "[1]"):
        path.write_text(damaged)
        with pytest.raises(UserError, match="which images the run was trained on"):
            training_ids(path)
