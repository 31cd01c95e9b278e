"""Records, predictions and corrections joined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rsam_app.export.items import collect
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError


def test_corrections_replace_original_values(aviary: Any) -> None:
    records = aviary.dataset.records
    assert [i.record for i in aviary.items] == list(records)
    relabelled, moved, excluded = aviary.items[1], aviary.items[2], aviary.items[5]
    assert (relabelled.label, relabelled.record.label) == ("Grünfink", "wren")
    assert relabelled.tags == ("relabel", "good")
    assert (moved.rectangle, moved.rectangle_by) == ((10.0, 12.0, 6.0, 4.0, -0.3), "person")
    assert excluded.excluded and sum(i.excluded for i in aviary.items) == 1
    by_model = aviary.items[3]
    assert (by_model.rectangle, by_model.rectangle_by) == ((20.0, 15.0, 16.0, 8.0, 0.5), "model")
    assert (by_model.predicted, by_model.confidence) == ("wren", 0.5)


def test_missing_predictions_are_none(aviary: Any, tmp_path: Path) -> None:
    without_rectangle, unpredicted = aviary.items[7], aviary.items[-1]
    assert (without_rectangle.rectangle, without_rectangle.rectangle_by) == (None, "")
    assert without_rectangle.predicted == "wren"
    assert (unpredicted.predicted, unpredicted.confidence, unpredicted.rectangle) == ("", None, None)
    bare = collect(RunFolder(tmp_path / "new"), aviary.dataset, [aviary.dataset.records[0].id], [], {})
    assert bare[0].label == aviary.dataset.records[0].label and bare[0].predicted == ""


def test_a_later_correction_reverts_an_earlier_one(aviary: Any) -> None:
    ids = [aviary.dataset.records[k].id for k in (1, 2, 5)]
    back = [
        replace(aviary.corrections[0], before="Grünfink", after="wren"),
        replace(aviary.corrections[1], after=""),
        replace(aviary.corrections[2], before="true", after="false"),
    ]
    items = collect(aviary.run, aviary.dataset, ids, [*aviary.corrections, *back], {})
    assert items[0].label == "wren"
    assert items[1].rectangle_by == "model"
    assert not items[2].excluded


def test_ids_keep_their_order_and_count_once(aviary: Any) -> None:
    ids = [aviary.dataset.records[k].id for k in (9, 3, 9, 1)]
    assert [i.record.id for i in collect(aviary.run, aviary.dataset, ids, [], {})] == [ids[0], ids[1], ids[3]]
    assert collect(aviary.run, aviary.dataset, [], [], {}) == []


def test_what_does_not_fit_the_dataset_is_named(aviary: Any) -> None:
    with pytest.raises(UserError, match=r"2 records are not in the dataset 'aviary', e.g. 'gone.jpg'"):
        collect(aviary.run, aviary.dataset, ["gone.jpg", aviary.dataset.records[0].id, "gone too"], [], {})
    new = replace(aviary.corrections[0], after="dodo")
    chosen = collect(aviary.run, aviary.dataset, [new.id], [new], {})
    assert [item.label for item in chosen if item.record.id == new.id] == ["dodo"], "a class that is new"
