"""RSAM's entry in a dataset's `info`: its stored format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rsam_app.review.dataset.memory import Memory
from rsam_app.review.dataset.schema import MEMORY, memory, remember
from rsam_app.system.errors import UserError


def stored(review_set: Any) -> dict[str, Any]:
    """The entry as the database has it now, as plain values."""
    review_set.reload()
    entry: dict[str, Any] = json.loads(json.dumps(review_set.info[MEMORY]))
    return entry


def test_the_stored_format_is_plain_and_keeps_unknown_keys() -> None:
    entry = {
        "format": 2,
        "classes": ["auk"],
        "runs": {"one": {"path": "/runs/one", "predictions": {"train": ["12ab"]}, "scores": ["margin"]}},
        "derived": {"one": {"pairs": [["a", "b"]], "beliefs": "x", "embeddings": "y", "photographs": "z"}},
        "colors": {"opacity": 0.45, "fields": {"review": {"path": "review"}}},
        "a key of another version": [1],
    }
    assert Memory.model_validate(entry).model_dump(exclude_unset=True) == entry


def test_values_are_replaced_one_by_one(review_set: Any) -> None:
    before, run = stored(review_set), memory(review_set).runs["run_one"]
    remember(review_set, runs={"run_one": run, "two": run.model_copy(update={"path": "/runs/two"})})
    two = {**before["runs"]["run_one"], "path": "/runs/two"}
    assert stored(review_set) == {**before, "runs": {**before["runs"], "two": two}}
    with pytest.raises(TypeError, match="colours"):
        remember(review_set, colours={})


def test_an_edited_entry_is_reported(review_set: Any) -> None:
    review_set.info[MEMORY] = {"runs": ["one"]}
    review_set.save()
    with pytest.raises(UserError, match=r"info\['rsam'\] was edited"):
        memory(review_set)
