"""The list of classes in the database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rsam_app.review.dataset.class_list import add_classes
from rsam_app.review.dataset.fiftyone_internals import add_to_lists
from rsam_app.review.dataset.schema import memory


def test_of_reviewers_who_add_classes_at_the_same_time_none_loses_one(review_set: Any) -> None:
    before, added = memory(review_set).classes, [f"species {n}" for n in range(20)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: add_to_lists(review_set, {"info.rsam.new_classes": [name]}), added))
    review_set.reload()
    assert sorted(memory(review_set).new_classes) == sorted(added) and memory(review_set).classes == before
    add_classes(review_set, ["wren", before[0], "wren"])
    assert memory(review_set).classes == review_set.classes["ground_truth"] == [*before, "wren"]
    assert memory(review_set).new_classes[-1] == "wren"
    add_classes(review_set, ["wren"])
    assert memory(review_set).classes == [*before, "wren"]
