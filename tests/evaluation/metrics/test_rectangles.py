"""Rectangles against true boxes and masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.ground_truth import box_agreement, mean_box, object_mask, truth_kinds
from rsam_app.evaluation.metrics.rectangles import rectangle_ious, score_rectangles
from rsam_app.geometry.types import Box
from rsam_app.system.errors import UserError

CENTRE = np.array([0.25, 0.25, 0.75, 0.75])


def record(name: str, *boxes: Box, mask: Path | None = None, values: tuple[int, ...] = (1,)) -> Record:
    return Record(name, Path(name), "x", "test", 100, 80, boxes, mask, values)


def save_mask(path: Path, region: np.ndarray, value: int = 1) -> Path:
    Image.fromarray((region * value).astype(np.uint8)).save(path)
    return path


def test_a_rectangle_on_its_box_is_perfect() -> None:
    scores = score_rectangles(np.array([[30.0, 40, 20, 40, 0]]), [record("a", (20.0, 20, 20, 40))], "boxes", CENTRE)
    for name in ("iou", "rotated_iou", "on_object", "covered", "pointed", "centre_box_pointed"):
        assert getattr(scores, name).tolist() == [1], name
    assert scores.full_image_iou[0] == pytest.approx(800 / 8000)
    assert scores.centre_box_iou[0] == pytest.approx(15 * 40 / (800 + 2000 - 600))


def test_the_best_of_several_boxes_counts() -> None:
    boxes = ((0.0, 0, 10, 10), (20.0, 20, 20, 40), (60.0, 60, 10, 10))
    several = [record("none"), record("several", *boxes), record("one", boxes[0])]
    rectangle = np.array([30.0, 40, 20, 40, 0.2])
    found = score_rectangles(np.stack([rectangle] * 3), several, "boxes", CENTRE)
    alone = score_rectangles(rectangle[None], [record("a", boxes[1])], "boxes", CENTRE)
    assert found.rows.tolist() == [1, 2]
    for name in ("iou", "rotated_iou", "on_object", "covered"):
        assert getattr(found, name)[0] == getattr(alone, name)[0], name
    assert found.rotated_iou[1] == 0


def test_boxes_past_the_edge_are_clipped() -> None:
    past = record("a", (-50.0, 0, 100, 80))
    scores = score_rectangles(np.array([[25.0, 40, 50, 80, 0]]), [past], "boxes", None)
    assert scores.iou.tolist() == [1]
    assert scores.rotated_iou.tolist() == [1]
    assert np.isnan(scores.centre_box_iou).all()
    assert score_rectangles(np.zeros((1, 5)), [record("b", (200.0, 0, 10, 10))], "boxes", CENTRE).rows.size == 0


def test_a_rectangle_that_leaves_the_image_is_clipped_only_for_its_upright_box() -> None:
    scores = score_rectangles(np.array([[0.0, 40, 100, 80, 0]]), [record("a", (0.0, 0, 50, 80))], "boxes", None)
    assert scores.iou.tolist() == [1]
    assert scores.rotated_iou[0] == pytest.approx(0.5)


def test_a_rectangle_outside_the_image_scores_nothing() -> None:
    scores = score_rectangles(np.array([[-90.0, -90, 20, 20, 0.3]]), [record("a", (0.0, 0, 50, 80))], "boxes", None)
    assert [scores.iou[0], scores.rotated_iou[0], scores.pointed[0]] == [0, 0, 0]


@pytest.mark.parametrize(("x", "hit"), [(64.9, True), (65.1, False)])
def test_the_pointing_game_tolerates_fifteen_pixels(tmp_path: Path, x: float, hit: bool) -> None:
    region = np.zeros((80, 100), dtype=bool)
    region[20:60, 20:50] = True
    masked = record("m", (20.0, 20, 30, 40), mask=save_mask(tmp_path / "m.png", region))
    for kind in ("boxes", "masks"):
        scores = score_rectangles(np.array([[x, 40, 10, 10, 0]]), [masked], kind, None)
        assert scores.pointed.tolist() == [hit], kind


def test_a_mask_is_scored_by_pixels_and_turning_costs_nothing(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:80, :100] + 0.5
    slanted = (np.abs(columns - rows - 10) < 10 * np.sqrt(2)) & (np.abs(columns + rows - 90) < 30 * np.sqrt(2))
    masked = record("m", mask=save_mask(tmp_path / "m.png", slanted, value=3), values=(1, 3))
    across, along = 20.0, 60.0
    scores = score_rectangles(np.array([[50.0, 40, along, across, np.pi / 4]]), [masked], "masks", CENTRE)
    assert scores.iou[0] > 0.99
    assert scores.upright_iou[0] < 0.5
    assert scores.full_image_iou[0] == pytest.approx(slanted.mean())
    assert scores.centre_box_iou[0] == pytest.approx(
        slanted[20:60, 25:75].sum() / (slanted.sum() + 2000 - slanted[20:60, 25:75].sum())
    )


def block(tmp_path: Path, *places: tuple[slice, slice]) -> Path:
    """A mask of 100 × 80 pixels that is set at some places."""
    region = np.zeros((80, 100), dtype=bool)
    for place in places:
        region[place] = True
    return save_mask(tmp_path / f"{len(list(tmp_path.iterdir()))}.png", region)


def test_boxes_come_before_masks_and_empty_masks_do_not_count(tmp_path: Path) -> None:
    empty, boxed = record("e", mask=block(tmp_path)), record("b", (0.0, 0, 50, 80))
    here = np.array([[25.0, 40, 50, 80, 0]] * 3)
    assert truth_kinds([boxed]) == ["boxes"]
    assert truth_kinds([empty, boxed]) == ["boxes", "masks"]
    np.testing.assert_array_equal(rectangle_ious(here[:2], [empty, boxed]), [np.nan, 1])
    assert truth_kinds([empty, empty, boxed]) == ["mask_boxes", "masks", "boxes"], "more records have masks"
    np.testing.assert_array_equal(rectangle_ious(here, [empty, empty, boxed]), [np.nan, np.nan, 1])
    assert np.isnan(rectangle_ious(np.zeros((1, 5)), [empty])).all()
    assert truth_kinds([record("n")]) == []
    undrawn = np.array([[np.nan] * 5, here[0]])
    np.testing.assert_array_equal(rectangle_ious(undrawn, [boxed, boxed]), [np.nan, 1])


def test_a_mask_alone_is_scored_by_the_box_around_it(tmp_path: Path) -> None:
    """Two arms of an L, 20 × 60 and 30 × 20: the box around it is 50 × 60, the mask 1,800 of its 3,000 pixels."""
    masked = record("m", mask=block(tmp_path, np.s_[10:70, 20:40], np.s_[50:70, 40:70]))
    around = np.array([[45.0, 40, 50, 60, 0]])
    assert truth_kinds([masked]) == ["mask_boxes", "masks"]
    assert score_rectangles(around, [masked], "mask_boxes", None).iou.tolist() == [1]
    assert score_rectangles(around, [masked], "masks", None).iou.tolist() == [0.6]
    assert rectangle_ious(around, [masked]).tolist() == [1]


def test_own_boxes_of_a_part_do_not_lead(tmp_path: Path) -> None:
    """The mask is 40 × 60; a box of half of it agrees with IoU .5, one that is a tenth too high with 60 / 66."""
    mask = block(tmp_path, np.s_[10:70, 20:60])
    head, whole = record("h", (20.0, 10, 40, 30), mask=mask), record("w", (20.0, 4, 40, 66), mask=mask)
    halves = record("t", (20.0, 10, 40, 30), (20.0, 40, 40, 30), mask=mask)
    assert box_agreement([head]) == 0.5
    assert box_agreement([whole]) == pytest.approx(60 / 66)
    assert box_agreement([halves]) == 1, "several boxes are compared together"
    assert box_agreement([head, whole, record("n"), record("b", (0.0, 0, 9, 9))]) == pytest.approx((0.5 + 60 / 66) / 2)
    assert box_agreement([record("m", mask=mask), record("b", (0.0, 0, 9, 9))]) is None, "none has both"
    assert truth_kinds([head, record("b", (0.0, 0, 9, 9))]) == ["mask_boxes", "masks", "boxes"]
    assert truth_kinds([whole, record("b", (0.0, 0, 9, 9))]) == ["boxes", "masks"]
    on_mask = np.array([[40.0, 40, 40, 60, 0]] * 3)
    assert rectangle_ious(on_mask[:1], [whole]).tolist() == [pytest.approx(60 / 66)]
    assert rectangle_ious(on_mask, [head, head, whole]).tolist() == [1, 1, 1], "all with the box of the mask"


def test_the_centre_box_is_the_mean_of_the_relative_boxes() -> None:
    wide = replace(record("w", (0.0, 0, 100, 80)), width=200, height=160)
    np.testing.assert_allclose(mean_box([wide, record("a", (50.0, 40, 50, 40))], "boxes"), [0.25, 0.25, 0.75, 0.75])
    assert mean_box([record("n")], "boxes") is None


def test_a_mask_that_does_not_fit_or_cannot_be_read_is_a_user_error(tmp_path: Path) -> None:
    small = record("s", mask=save_mask(tmp_path / "s.png", np.ones((40, 50), dtype=bool)))
    with pytest.raises(UserError, match="50 × 40 pixels, its image 100 × 80"):
        object_mask(small)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no")
    for name in ("broken.png", "missing.png"):
        with pytest.raises(UserError, match=name):
            object_mask(record("b", mask=tmp_path / name))
