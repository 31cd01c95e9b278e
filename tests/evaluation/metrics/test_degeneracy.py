"""Degeneracy of sets of rectangles with known values."""

from __future__ import annotations

import numpy as np
import pytest

from rsam_app.evaluation.metrics.rectangles import degeneracy, mean_rectangles


def test_equal_rectangles_are_recognised_with_exchanged_sides() -> None:
    sizes = np.array([[100.0, 100], [200, 200], [100, 100]])
    same = np.array([[50.0, 40, 30, 20, 0.3], [100, 80, 60, 40, 0.3], [50, 40, 20, 30, 0.3 - np.pi / 2]])
    found = degeneracy(same, sizes)
    assert found["mean_rectangle_iou"] == pytest.approx(1)
    assert found["centre_spread_x"] == pytest.approx(0)
    np.testing.assert_allclose(mean_rectangles(same, sizes)[:, 2:4], [[30, 20], [60, 40], [30, 20]])


def test_shares_count_the_visible_area() -> None:
    sizes = np.array([[100.0, 100]] * 4)
    rectangles = np.array([[50.0, 50, 300, 300, 0.5], [50, 50, 10, 10, 0], [-200, 0, 90, 90, 0], [50, 50, 50, 50, 0]])
    found = degeneracy(rectangles, sizes)
    assert found["share_large"] == 0.25
    assert found["share_small"] == 0.5
    assert found["centre_spread_x"] == pytest.approx(np.std([0.5, 0.5, -2, 0.5]))


def test_opposite_diagonals_average_to_a_square() -> None:
    crossed = np.array([[50.0, 50, 40, 10, np.pi / 4], [50, 50, 40, 10, -np.pi / 4]])
    mean = mean_rectangles(crossed, np.array([[100.0, 100]] * 2))[0]
    np.testing.assert_allclose(mean[:4], [50, 50, 25, 25])
