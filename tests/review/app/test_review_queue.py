"""The review queue: order, next image, progress, and the reason for an image."""

from __future__ import annotations

from typing import Any

from rsam_app.review.app.review_queue import TEST_IMAGE, count, explain, next_sample, queue_of, run_of, sorted_by
from rsam_app.review.decisions.marks import mark


def test_without_a_view_the_worst_comes_first(review_set: Any) -> None:
    queue = queue_of(review_set, review_set.view(), "run_one")
    scores = queue.values("run_one_misattention")
    assert scores == sorted(review_set.match({"split": "train"}).values("run_one_misattention"), reverse=True)
    assert next_sample(queue) == queue.first().id


def test_a_test_image_is_only_in_views_that_ask_for_it_and_is_called_one(review_set: Any) -> None:
    assert queue_of(review_set, None, "run_one").distinct("split") == ["train"]
    queue = queue_of(review_set, review_set.match({"split": "test"}), "run_one")
    assert len(queue) == 6
    lines = [explain(review_set, queue, i, "run_one").lines for i in (queue.first().id, review_set.first().id)]
    assert [TEST_IMAGE in of_image for of_image in lines] == [True, review_set.first().split == "test"]


def test_a_view_keeps_its_own_order(review_set: Any) -> None:
    suspect = review_set.load_saved_view("run_one suspect labels")
    queue = queue_of(review_set, suspect, "run_one")
    assert queue.values("id") == suspect.values("id")
    selection = review_set.select_by("record_id", review_set.values("record_id")[7:2:-1], ordered=True)
    assert queue_of(review_set, selection, "run_one").values("id") == selection.values("id")
    unsorted = review_set.match_tags("nobody")
    assert next_sample(queue_of(review_set, unsorted, "run_one")) is None


def test_the_queue_skips_marked_images_and_continues_from_the_front(review_set: Any) -> None:
    queue = queue_of(review_set, None, "run_one").limit(4)
    order = queue.values("id")
    mark(review_set, [order[1]], "right", "run_one")
    assert next_sample(queue, order[0]) == order[2]
    assert next_sample(queue, order[3]) == order[0], "from the front again"
    assert (count(queue).left, count(queue).total, count(queue).by_mark()) == (3, 4, "1 right")
    mark(review_set, [order[0], order[2]], "unsure", "run_one")
    assert count(queue).by_mark() == "2 unsure, 1 right"
    assert next_sample(queue, order[3]) is None, "only the open one is left"
    assert next_sample(queue) == order[3]
    mark(review_set, [order[3]], "right", "run_one")
    assert next_sample(queue) is None


def test_images_the_reviewer_added_are_not_in_the_queue(review_set: Any) -> None:
    import fiftyone as fo

    review_set.add_sample(fo.Sample(filepath="/elsewhere/added.png"))
    assert len(queue_of(review_set, None, "run_one")) == 18
    assert len(queue_of(review_set, review_set.limit(99), "run_one")) == 24


def test_the_reason_compares_in_words(review_set: Any) -> None:
    worst = review_set.load_saved_view("run_one misattended")
    queue = queue_of(review_set, worst, "run_one")
    first, last = queue.values("id")[0], queue.values("id")[-1]
    sample = review_set[first]
    reason = explain(review_set, queue, first, "run_one")
    assert reason.title == sample.record_id
    assert f"Misattention **{sample.run_one_misattention:.2f}**" in reason.lines[0]
    assert "the highest of 24 images" in reason.lines[0]
    assert "higher than 0 % of 24" in explain(review_set, queue, last, "run_one").lines[0]
    label, predicted = sample.ground_truth.label, sample.run_one_prediction.label
    assert f"**{label}**" in reason.lines[1] and f"**{predicted}**" in reason.lines[1]
    assert ("agree" in reason.lines[1]) is (label == predicted)
    mark(review_set, [first], "unsure", "run_one")
    assert explain(review_set, queue, first, "run_one").lines[-1] == "You marked it: **unsure**."


def test_in_a_view_of_low_scores_the_worst_is_the_lowest(review_set: Any) -> None:
    queue = queue_of(review_set, review_set.load_saved_view("run_one suspect labels"), "run_one")
    line = explain(review_set, queue, queue.first().id, "run_one").lines[0]
    assert line.startswith("Label quality") and "the lowest of 24" in line


def test_the_run_is_the_one_the_view_is_sorted_by(review_set: Any) -> None:
    assert run_of(review_set, review_set.load_saved_view("run_one misattended")) == "run_one"
    assert run_of(review_set, review_set.view()) == "run_one"
    assert sorted_by(review_set.sort_by("run_one_margin").limit(2)) == "run_one_margin"
    assert sorted_by(review_set.view()) is None


def test_the_next_image_is_the_same_by_the_index_as_by_walking_through_the_queue(review_set: Any) -> None:
    mark(review_set, review_set.limit(9).values("id"), "right", "run_one")
    for reverse in (True, False):
        queue = review_set.sort_by("run_one_misattention", reverse=reverse)
        order, marks = queue.values(["id", "review"])
        for place, sample_id in enumerate(order):
            walked = [i for i in [*range(place + 1, 24), *range(place)] if marks[i] is None]
            assert next_sample(queue, sample_id) == order[walked[0]]
    first = next(i for i, m in zip(order, marks, strict=True) if m is None)
    assert next_sample(queue, "0" * 24) == first, "one that is not in the queue"


def test_among_images_of_one_score_the_next_is_another_without_a_mark(review_set: Any) -> None:
    """More than are asked for at once."""
    review_set.set_values("run_one_misattention", [0.5] * 24)
    mark(review_set, (marked := review_set.limit(2).values("id")), "right", "run_one")
    queue, following = queue_of(review_set, review_set.sort_by("run_one_misattention"), "run_one"), {}
    for sample_id in review_set.values("id"):
        following[sample_id] = next_sample(queue, sample_id)
        assert following[sample_id] not in (None, sample_id, *marked)
    assert len(set(following.values())) == 22, "each is reached"
