"""Rectangles located again as a field and a view of the review dataset."""

from __future__ import annotations

from typing import Any

import pytest

from rsam_app.geometry.types import Rectangle
from rsam_app.review.app.review_queue import explain
from rsam_app.review.writing.write_located import write_located
from rsam_app.system.errors import UserError


def test_rectangles_are_written_and_those_that_moved_are_in_a_view(review_set: Any, drawn: Any) -> None:
    first, second, third = drawn.split("train")[:3]
    found = {r.id: Rectangle(r.width / 2, r.height / 2, 20.0, 10.0, 0.3) for r in (first, second)}
    assert write_located(review_set, "run_one", found, [second.id]) == ("run_one_located", "run_one located again")
    labels = dict(zip(*review_set.values(["record_id", "run_one_located.detections.label"]), strict=True))
    assert labels[first.id] == ["unmoved"] and labels[second.id] == ["moved"] and labels[third.id] is None
    detection = review_set.match({"record_id": first.id}).first().run_one_located.detections[0]
    assert [detection.cx, detection.cy, detection.angle] == [first.width / 2, first.height / 2, 0.3]
    assert review_set.load_saved_view("run_one located again").values("record_id") == [second.id]
    assert {"run_one_rectangle", "run_one_located"} <= set(review_set.app_config.active_fields.paths)
    ids = dict(zip(*review_set.values(["record_id", "id"]), strict=True))
    told = "Marks are about the rectangle that was found again: `run_one_located`."
    for record, is_told in ((first, True), (third, False)):
        reason = explain(review_set, review_set.view(), ids[record.id], "run_one")
        assert (told in reason.lines) is is_told

    write_located(review_set, "run_one", {third.id: found[first.id]}, [])
    assert review_set.exists("run_one_located").values("record_id") == [third.id]


def test_a_run_that_is_not_in_the_dataset_is_refused(review_set: Any) -> None:
    with pytest.raises(UserError, match=r"'gone' is not a run .*`rsam review RUN`"):
        write_located(review_set, "gone", {}, [])
