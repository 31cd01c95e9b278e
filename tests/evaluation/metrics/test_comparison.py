"""The comparison of two runs on arrays small enough to count by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.attention_truth import with_true_boxes
from rsam_app.evaluation.metrics.comparison import CHANGES, attention_limit, change_by_id, compare_arrays
from rsam_app.evaluation.metrics.localization import localization
from rsam_app.evaluation.metrics.prediction_arrays import PredictionArrays
from rsam_app.geometry.types import Rectangle

CLASSES = ("crow", "tit", "wren")
LABELS = np.array([0, 0, 0, 1, 1, 1])
TRUE = (20.0, 20.0, 40.0, 40.0)
ON, HALF, OFF = (40.0, 40.0, 40.0, 40.0, 0.0), (60.0, 40.0, 40.0, 40.0, 0.0), (85.0, 85.0, 20.0, 20.0, 0.0)
"""Rectangles with an IoU of 1, 1/3 and 0 with the true box."""


def arrays(predicted: list[int], rectangles: list[tuple[float, ...]], **changes: object) -> PredictionArrays:
    """Six 100 × 100 images with a true box each; the class predicted has logit 2, the others 0."""
    group = ("sky", "sky", "tree") * 2
    records = tuple(
        Record(f"{i}.jpg", Path(f"{i}.jpg"), CLASSES[label], "test", 100, 100, boxes=(TRUE,), group=group[i])
        for i, label in enumerate(LABELS)
    )
    return replace(
        PredictionArrays(2.0 * np.eye(3)[predicted], LABELS, np.array(rectangles, dtype=float), records), **changes
    )


FIRST = arrays([0, 0, 1, 1, 1, 0], [ON, ON, ON, OFF, HALF, ON])
SECOND = arrays([0, 1, 0, 1, 0, 0], [ON, HALF, ON, ON, HALF, OFF])
SOURCES = ["boxes"] * 6


@pytest.fixture(scope="module")
def figures():
    return compare_arrays(FIRST, SECOND, SOURCES, CLASSES)


def ids(images: list[dict[str, object]]) -> list[object]:
    return [image["id"] for image in images]


def test_images_that_changed_sides_are_listed_with_both_answers(figures):
    assert ids(figures["changed"]["broken"]) == ["1.jpg", "4.jpg"]
    assert ids(figures["changed"]["fixed"]) == ["2.jpg"]
    image = figures["changed"]["broken"][0]
    assert (image["label"], image["first"]["predicted"], image["second"]["predicted"]) == ("crow", "crow", "tit")
    assert (image["first"]["iou"], image["second"]["iou"]) == pytest.approx((1, 1 / 3))
    assert image["second"]["confidence"] == pytest.approx(np.e**2 / (np.e**2 + 2))
    assert figures["mcnemar"] == {"fixed": 1, "broken": 2, "p": 1.0}


def test_rectangles_that_moved_are_listed_largest_move_first(figures):
    assert ids(figures["changed"]["moved off the object"]) == ["5.jpg", "1.jpg"]
    assert ids(figures["changed"]["moved onto the object"]) == ["3.jpg"]
    changes = change_by_id(figures)
    assert changes["1.jpg"] == "broken", "the class comes first"
    assert changes == {
        "1.jpg": "broken", "4.jpg": "broken", "2.jpg": "fixed",
        "5.jpg": "moved off the object", "3.jpg": "moved onto the object",
    }  # fmt: skip


def test_accuracy_and_its_interval_are_those_of_a_paired_t_test(figures):
    right = np.array([1, 1, 0, 1, 1, 0]), np.array([1, 0, 1, 1, 0, 0])
    interval = stats.ttest_rel(right[1], right[0]).confidence_interval(0.95)
    top1 = figures["top1"]
    assert (top1["first"], top1["second"], top1["difference"]) == pytest.approx((4 / 6, 3 / 6, -1 / 6))
    assert top1["interval"] == pytest.approx(list(interval))
    assert figures["macro_top1"]["second"] == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_attention_is_compared_with_the_truth_and_with_each_other(figures):
    attention = figures["attention"]
    assert (attention["n"], attention["boxes_from"]) == (6, {"boxes": 6})
    ious = np.array([1, 1, 1, 0, 1 / 3, 1]), np.array([1, 1 / 3, 1, 1, 1 / 3, 0])
    assert (attention["first"], attention["second"]) == pytest.approx((ious[0].mean(), ious[1].mean()))
    interval = stats.ttest_rel(ious[1], ious[0]).confidence_interval(0.95)
    assert attention["interval"] == pytest.approx(list(interval))
    assert figures["agreement"] == pytest.approx((1 + 1 / 3 + 1 + 0 + 1 + 0) / 6)
    crow, tit = figures["per_class"]
    assert (crow["class"], crow["n"], crow["recall"]["first"], crow["recall"]["difference"]) == pytest.approx(
        ("crow", 3, 2 / 3, 0)
    )
    assert (crow["agreement"], crow["iou"]["second"]) == pytest.approx((7 / 9, 7 / 9))
    assert tit["agreement"] == pytest.approx(1 / 3)


def test_the_worst_class_and_group_are_named_for_each_run(figures):
    assert figures["worst_class"]["first"] == {"class": "crow", "n": 3, "recall": pytest.approx(2 / 3)}
    assert figures["worst_class"]["second"] == {"class": "tit", "n": 3, "recall": pytest.approx(1 / 3)}
    assert figures["worst_group"]["first"]["top1"] == 0
    assert figures["worst_group"]["first"]["group"] == "tree"
    bare = [replace(a, records=tuple(replace(r, group="") for r in a.records)) for a in (FIRST, SECOND)]
    without = compare_arrays(*bare, SOURCES, CLASSES)
    assert without["worst_group"] is None
    assert "no groups" in without["absent"]["worst_group"]


def test_exchanged_runs_have_the_opposite_differences(figures):
    back = compare_arrays(SECOND, FIRST, SOURCES, CLASSES)
    for name in ("top1", "macro_top1", "ece", "nll", "attention"):
        assert back[name]["difference"] == pytest.approx(-figures[name]["difference"]), name
    assert back["attention"]["interval"] == pytest.approx([-v for v in reversed(figures["attention"]["interval"])])
    assert back["mcnemar"]["fixed"] == figures["mcnemar"]["broken"]
    assert ids(back["changed"]["moved onto the object"]) == ids(figures["changed"]["moved off the object"])


def test_images_without_a_rectangle_or_truth_are_not_measured():
    rectangles = SECOND.rectangles.copy()
    rectangles[5] = np.nan
    records = (replace(SECOND.records[0], boxes=()), *SECOND.records[1:])
    first, second = replace(FIRST, records=records), replace(SECOND, rectangles=rectangles, records=records)
    attention = compare_arrays(first, second, [None, *SOURCES[1:]], CLASSES)["attention"]
    assert (attention["n"], attention["boxes_from"]) == (4, {"boxes": 4})
    assert attention["first"] == pytest.approx((1 + 1 + 0 + 1 / 3) / 4)


@pytest.mark.parametrize(
    ("first", "sources", "reason"),
    [
        (replace(FIRST, rectangles=np.full((6, 5), np.nan)), SOURCES, "first run has no attention"),
        (FIRST, [None] * 6, "no shared image has a box"),
    ],
)
def test_without_attention_or_truth_the_reason_is_given(first, sources, reason):
    records = tuple(replace(r, boxes=() if sources[0] is None else r.boxes) for r in SECOND.records)
    both = [replace(a, records=records) for a in (first, SECOND)]
    found = compare_arrays(*both, sources, CLASSES)
    assert found["attention"] is None
    assert reason in found["absent"]["attention"]
    assert not found["changed"]["moved off the object"]


@pytest.mark.parametrize(
    ("first", "second", "limit", "exceeded"),
    [
        (0.6, 0.4, 0.1, True),
        (0.6, 0.4, 0.3, False),
        (0.4, 0.3, 0.1, False),
        (0.4, 0.6, 0.0, False),
        (0.4, 0.4, 0.0, False),
    ],
)
def test_a_limit_is_exceeded_only_when_attention_fell_by_more(first, second, limit, exceeded):
    found = attention_limit({"first": first, "second": second, "difference": second - first}, limit)
    assert found["exceeded"] is exceeded
    assert found["drop"] == pytest.approx(first - second)


def test_one_image_has_no_interval():
    one = [PredictionArrays(a.logits[:1], a.labels[:1], a.rectangles[:1], a.records[:1]) for a in (FIRST, SECOND)]
    figures = compare_arrays(*one, SOURCES[:1], CLASSES)
    assert (figures["top1"]["interval"], figures["attention"]["interval"]) == (None, None)
    assert set(figures["changed"]) == set(CHANGES)


@pytest.fixture
def masked(tmp_path: Path) -> Record:
    """A record whose own box is not around its mask: they share 100 pixels."""
    mask = np.zeros((100, 100), dtype=np.uint8)
    mask[10:30, 50:90] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return replace(FIRST.records[0], id="masked", mask=tmp_path / "mask.png")


TARGETS = {name: Rectangle(50.0, 50.0, 40.0, 20.0, np.pi / 2) for name in ("masked", "boxed", "bare")}
AROUND, TARGET = (50, 10, 40, 20), (40, 30, 20, 40)


def test_true_boxes_are_of_one_source_and_targets_are_for_records_without_any(masked):
    boxed, bare = replace(FIRST.records[0], id="boxed"), replace(FIRST.records[0], id="bare", boxes=())

    def truth(*records: Record) -> list[tuple[object, ...]]:
        changed, sources = with_true_boxes(records, TARGETS)
        assert all(record.mask is None for record in changed)
        boxes = [tuple(tuple(round(v, 6) for v in box) for box in record.boxes) for record in changed]
        return [(source, *own) for source, own in zip(sources, boxes, strict=True)]

    assert truth(boxed, bare) == [("boxes", TRUE), ("targets", TARGET)]
    only_mask = replace(masked, boxes=())
    assert truth(only_mask, bare) == [("masks", AROUND), ("targets", TARGET)]
    assert truth(masked, boxed, bare) == [("masks", AROUND), (None,), ("targets", TARGET)], "own boxes are of a part"
    assert truth(only_mask, boxed, boxed) == [(None,), ("boxes", TRUE), ("boxes", TRUE)], "more records have boxes"
    assert truth(bare) == [("targets", TARGET)]
    assert truth(replace(bare, id="without a target")) == [(None,)]


@pytest.mark.parametrize("rectangle", [ON, (70.0, 20.0, 40.0, 20.0, 0.3)])
def test_ious_are_those_of_the_headline(masked, rectangle):
    records = (masked, replace(masked, id="only a mask", boxes=()), FIRST.records[1])
    changed, _ = with_true_boxes(records, {})
    located = localization(np.array([rectangle] * 3), records, [])
    compared = replace(FIRST, labels=LABELS[:3], rectangles=np.array([rectangle] * 3), records=changed).ious()
    assert located["boxes_from"] == "masks"
    assert np.nanmean(compared) == pytest.approx(located["mean_iou"])
