"""Marks and their undo, in the real database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rsam_app.data.records import Dataset
from rsam_app.review.dataset.schema import DECISIONS
from rsam_app.review.decisions.marks import MAX_SAMPLES, mark, undo
from rsam_app.review.decisions.read import read_decisions
from rsam_app.review.writing.write_run import write_run
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError

MakeRun = Callable[..., RunFolder]


def ids(review_set: Any, number: int) -> list[str]:
    return review_set.limit(number).values("id")


def content(review_set: Any) -> list[tuple[Any, ...]]:
    """Return all that marks may change, from the database."""
    review_set.reload()
    targets = [t and t.to_dict() for t in review_set.values("attention_target")]
    return list(zip(*review_set.values(["id", "review", "tags"]), targets, strict=True))


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_mark_reads_back_as_the_decision_it_is(review_set: Any, decision: str) -> None:
    chosen = ids(review_set, 2)
    before = content(review_set)
    assert mark(review_set, chosen, decision, "run_one").ids == chosen
    found = read_decisions(review_set.name, "run_one", "ann")
    assert found.marks == {decision: 2}
    assert found.problems == []
    kinds = {"accept": "rectangle", "exclude": "exclude", "right": "place", "wrong place": "place"}
    expected = [kinds[decision]] * 2 if decision in kinds else []
    assert [c.kind for c in found.corrections] == expected
    assert len(undo(review_set).ids) == 2
    assert content(review_set) == before


def test_undoing_goes_back_mark_by_mark(review_set: Any) -> None:
    (first,) = ids(review_set, 1)
    review_set.select(first).tag_samples(["accept", "mine"])
    states = []
    for decision in ("wrong place", "accept", "unsure", "exclude"):
        states.append(content(review_set))
        mark(review_set, [first], decision, "run_one")
    assert review_set[first].tags == ["mine"]
    for state in reversed(states):
        undo(review_set)
        restored = content(review_set)
        # a tag that comes back comes back last
        assert [(i, r, set(t or []), g) for i, r, t, g in restored] == [(i, r, set(t or []), g) for i, r, t, g in state]
    with pytest.raises(UserError, match="no mark of yours is left"):
        undo(review_set)


def test_accepting_shows_the_target_at_once_and_keeps_a_drawn_one(review_set: Any) -> None:
    import fiftyone as fo

    drawn, plain = ids(review_set, 2)
    sample = review_set[drawn]
    sample.attention_target = fo.Detections(detections=[fo.Detection(label="target", bounding_box=[0, 0, 0.5, 0.5])])
    sample.save()
    mark(review_set, [drawn, plain], "accept", "run_one")
    review_set.reload()
    assert review_set[drawn].attention_target.detections[0].bounding_box == [0, 0, 0.5, 0.5]
    model, target = review_set[plain].run_one_attention.detections[0], review_set[plain].attention_target.detections[0]
    assert target.bounding_box == pytest.approx(model.bounding_box, abs=1e-6)
    mark(review_set, [drawn, plain], "wrong place", "run_one")
    review_set.reload()
    assert review_set[drawn].attention_target is not None
    assert review_set[plain].attention_target is None


def test_a_sample_without_a_rectangle_is_not_accepted_and_is_named(drawn: Dataset, make_run: MakeRun) -> None:
    import fiftyone as fo

    write_run(make_run(drawn, attention=False), drawn)
    review_set = fo.load_dataset(drawn.name)
    first, second = ids(review_set, 2)
    mark(review_set, [second], "right", "run_one")
    done = mark(review_set, [first, second], "accept", "run_one")
    assert (done.ids, sorted(done.left)) == ([], sorted(review_set.select([first, second]).values("record_id")))
    assert review_set.select([first, second]).values("review") == [None, "right"]


def test_undo_leaves_later_changes(review_set: Any) -> None:
    first, second = ids(review_set, 2)
    mark(review_set, [first, second], "right", "run_one", who="ann")
    sample = review_set[first]
    sample.review = "exclude"
    sample.save()
    done = undo(review_set, who="ann")
    assert (done.ids, done.left) == ([second], [sample.record_id])
    review_set.reload()
    assert review_set.select([first, second]).values("review") == ["exclude", None]


def test_each_reviewer_undoes_only_own_marks(review_set: Any) -> None:
    first, second = ids(review_set, 2)
    mark(review_set, [first], "right", "run_one", who="ann")
    mark(review_set, [second], "unsure", "run_one", who="bo")
    assert undo(review_set, who="ann").ids == [first]
    with pytest.raises(UserError):
        undo(review_set, who="ann")
    assert undo(review_set, who="bo").ids == [second]


def test_marking_twice_the_same_is_one_mark(review_set: Any) -> None:
    chosen = ids(review_set, 1)
    mark(review_set, chosen, "right", "run_one")
    mark(review_set, chosen, "right", "run_one")
    undo(review_set)
    assert review_set.select(chosen).values("review") == [None]


def test_another_word_and_too_many_images_are_refused(review_set: Any) -> None:
    with pytest.raises(UserError, match=r"mark 'great': expected one of right"):
        mark(review_set, ids(review_set, 1), "great", "run_one")
    with pytest.raises(UserError, match="at most 5,000"):
        mark(review_set, ["0" * 24] * (MAX_SAMPLES + 1), "right", "run_one")
    assert set(review_set.values("review")) == {None}
