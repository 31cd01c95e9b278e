"""Changes found by `rsam compare` as a field and a view of the review dataset."""

from __future__ import annotations

from typing import Any

import pytest

from rsam_app.review.analysis.compare_runs import write_changes
from rsam_app.review.writing.write_run import write_run
from rsam_app.system.errors import UserError


@pytest.fixture
def both(review_set: Any, drawn: Any, make_run: Any) -> Any:
    """The review dataset with the runs `run_one` and `run_two`."""
    write_run(make_run(drawn, "run two", seed=1), drawn)
    review_set.reload()
    return review_set


def test_each_changed_image_is_labelled_with_its_change_and_in_a_view(both: Any, drawn: Any) -> None:
    ids = [record.id for record in drawn.records]
    view, number = write_changes(both, "run_one", "run_two", {ids[0]: "broken", ids[3]: "fixed", "gone": "fixed"})
    assert (view, number) == ("run_two compared with run_one", 2)
    found = dict(zip(*both.values(["record_id", "run_two_change_from_run_one.label"]), strict=True))
    assert {i: label for i, label in found.items() if label} == {ids[0]: "broken", ids[3]: "fixed"}
    assert both.load_saved_view(view).values("record_id") == [ids[0], ids[3]]


def test_a_second_comparison_replaces_the_changes_and_keeps_the_reviewers_view(both: Any, drawn: Any) -> None:
    ids = [record.id for record in drawn.records]
    view, _ = write_changes(both, "run_one", "run_two", {ids[0]: "broken"})
    both.save_view(view, both.limit(7), overwrite=True)
    _, number = write_changes(both, "run_one", "run_two", {ids[1]: "moved off the object"})
    assert number == 1
    assert both.exists("run_two_change_from_run_one").values("record_id") == [ids[1]]
    assert len(both.load_saved_view(view)) == 7


def test_a_run_that_is_not_in_the_dataset_is_refused(both: Any) -> None:
    with pytest.raises(UserError, match=r"'gone' is not a run .*`rsam review RUN`"):
        write_changes(both, "run_one", "gone", {})
    with pytest.raises(UserError, match="twice"):
        write_changes(both, "run_one", "run_one", {})
    assert not both.has_sample_field("gone_change_from_run_one")
