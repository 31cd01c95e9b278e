"""Each score at its extremes, its invariances, and against an independent reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation.known_models import SIZE, always_the_same, finds_red, red_blocks, runner_of

from rsam_app.data.records import Record
from rsam_app.evaluation.scores.degeneracy import degenerate
from rsam_app.evaluation.scores.instability import ORDER, VIEWS, instability, returned_rectangles
from rsam_app.evaluation.scores.off_object import off_object
from rsam_app.evaluation.scores.outside_activation import outside_activation
from rsam_app.evaluation.scores.outside_evidence import background_shortcut, outside_correct, outside_evidence


class _Points:
    """The part of a model that `returned_rectangles` uses, with known outputs."""

    def __init__(self, observe) -> None:  # type: ignore[no-untyped-def]
        self.observe = observe

    def locate(self, images: torch.Tensor) -> torch.Tensor:
        return self.observe(images)[1]


def _instability(observe, views: int = len(ORDER)) -> np.ndarray:  # type: ignore[no-untyped-def]
    images = runner_of(observe).normalise(red_blocks().images)
    return instability(observe(images)[1], returned_rectangles(_Points(observe), images, views)).numpy()  # type: ignore[arg-type]


def test_a_rectangle_that_follows_its_object_is_stable() -> None:
    assert _instability(finds_red).max() < 0.1
    assert _instability(always_the_same, 2).min() > 0.5, "a place off the middle is elsewhere in every view"


def test_without_views_instability_is_nan() -> None:
    assert np.isnan(_instability(finds_red, 0)).all()


def test_outside_evidence_compares_outside_with_inside() -> None:
    whole = np.array([[9.0, 0, 0]] * 3)
    inside = np.array([[9.0, 0, 0], [1, 0, 0], [-20, 9, 9]])
    outside = np.array([[-20.0, 9, 9], [1, 0, 0], [9, 0, 0]])
    np.testing.assert_allclose(outside_evidence(whole, inside, outside), [0, 0.5, 1], atol=1e-6)


def test_classes_that_their_background_gives_away_score_highest() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    outside = np.array([[2.0, 0, 0], [2, 0, 0], [2, 0, 0], [0, 2, 0], [np.nan] * 3])
    correct = outside_correct(outside, labels)
    np.testing.assert_array_equal(correct, [1, 1, 0, 1, np.nan])
    np.testing.assert_array_equal(background_shortcut(correct, labels), [1, 1, 0.5, 0.5, np.nan])


def test_outside_activation_is_the_share_of_the_evidence_beside_the_rectangle() -> None:
    class_map = torch.full((3, 8, 8), -1.0)
    class_map[0, 2:4, 2:4] = 5  # all inside
    class_map[1, 2:4, 6:8] = 5  # all outside
    class_map[2, 2:4, 2:4] = class_map[2, 2:4, 6:8] = 5  # half
    mask = torch.zeros(3, 8, 8)
    mask[:, 1:5, 1:5] = 1
    torch.testing.assert_close(outside_activation(class_map, mask), torch.tensor([0, 1, 0.5]))
    finer = mask.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    torch.testing.assert_close(outside_activation(class_map * 7 + 3, finer), torch.tensor([0, 1, 0.5]))


def test_uniform_evidence_gives_the_area_outside() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    assert outside_activation(torch.ones(1, 8, 8), mask).item() == pytest.approx(0.5)


def test_degenerate_rectangles_are_those_of_the_metric() -> None:
    sizes = np.full((6, 2), (200.0, 100.0))
    wide = [(100, 50, 100, 50, 0), (100, 50, 200, 100, 0), (100, 50, 200, 90, 0), (100, 50, 2, 1, 0)]
    rectangles = np.array([*wide, (400, 50, 100, 50, 0), (np.nan,) * 5])
    found = degenerate(rectangles, sizes)
    assert found[0] < 0.05 and found[1] > 0.99 and found[3] > 0.99 and found[4] == 1
    assert found[2] == pytest.approx(0.5, abs=1e-3), "the threshold is .9 of the image"
    assert np.isnan(found[5])
    half_off = degenerate(np.array([[0.0, 50, 100, 50, 0]]), sizes[:1])
    assert half_off[0] == pytest.approx(0.5)


def test_off_object_is_zero_on_the_box_and_nan_without_one(tmp_path: Path) -> None:
    record = Record("a", tmp_path / "a.jpg", "x", "test", 100, 80, boxes=((10, 20, 40, 30),))
    met, missed = [30.0, 35, 40, 30, 0], [80.0, 70, 10, 10, 0]
    records = [record, record, replace(record, boxes=())]
    np.testing.assert_allclose(off_object(np.array([met, missed, met]), records), [0, 1, np.nan])


def test_the_first_two_views_are_smaller_and_larger() -> None:
    """Together they are biased neither against small nor against large rectangles."""
    further, closer = (float(torch.linalg.det(VIEWS[name](SIZE)[0, :, :2])) for name in ORDER[:2])
    assert further < 1 < closer
