"""Robust distances from a class's usual rectangle: what they detect, and their invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rsam_app.evaluation.scores.unusual_geometry import coordinates, fit_habits


def rectangles(count: int, rng: np.random.Generator, cx: float = 100.0) -> np.ndarray:
    columns = [rng.normal(cx, 8, count), rng.normal(75, 6, count), 80 * np.exp(rng.normal(0, 0.1, count))]
    return np.column_stack([*columns, 40 * np.exp(rng.normal(0, 0.1, count)), rng.normal(0.3, 0.1, count)])


def sizes(count: int) -> np.ndarray:
    return np.full((count, 2), (200.0, 150.0))


def test_coordinates_are_the_same_with_exchanged_sides() -> None:
    given = rectangles(50, np.random.default_rng(0))
    swapped = given[:, [0, 1, 3, 2, 4]] + [0, 0, 0, 0, math.pi / 2]
    turned = given + np.array([0, 0, 0, 0, math.pi])
    for other in (swapped, turned):
        np.testing.assert_allclose(coordinates(other, sizes(50)), coordinates(given, sizes(50)), atol=1e-9)
    doubled = given * [2, 2, 2, 2, 1]
    np.testing.assert_allclose(coordinates(doubled, 2 * sizes(50)), coordinates(given, sizes(50)), atol=1e-9)


def test_the_angle_of_a_square_does_not_matter() -> None:
    square = np.array([[100.0, 75, 50, 50, a] for a in (-1.5, -0.4, 0, 1)])
    assert np.ptp(coordinates(square, sizes(4)), axis=0).max() < 1e-9


def test_outliers_are_found_although_they_are_in_the_fit() -> None:
    rng = np.random.default_rng(1)
    given = rectangles(300, rng)
    odd = np.arange(0, 300, 10)
    given[odd, 0] += 70
    habits = fit_habits(given, sizes(300), np.zeros(300, dtype=int), 1)
    assert habits is not None
    found = habits.unusual_geometry(given, sizes(300), np.zeros(300, dtype=int))
    usual = np.delete(found, odd)
    assert found[odd].min() > 0.999
    assert 0.3 < np.median(usual) < 0.6, "about a chi-square's share, were they normal"


def test_each_class_has_its_own_location_and_a_rare_one_is_shrunk() -> None:
    rng = np.random.default_rng(2)
    given = np.concatenate([rectangles(80, rng, 60), rectangles(80, rng, 140), rectangles(3, rng, 140)])
    of = np.repeat([0, 1, 2], [80, 80, 3])
    habits = fit_habits(given, sizes(163), of, 4)
    assert habits is not None
    one = given[:1]
    own, other, rare, never = (habits.unusual_geometry(one, sizes(1), np.array([c]))[0] for c in range(4))
    assert own < 0.99 < other
    assert np.isfinite([rare, never]).all()


def test_equal_rectangles_can_be_fitted() -> None:
    same = np.tile([100.0, 75, 80, 40, 0], (60, 1))
    habits = fit_habits(same, sizes(60), np.zeros(60, dtype=int), 1)
    assert habits is not None
    assert habits.unusual_geometry(same, sizes(60), np.zeros(60, dtype=int)).max() < 1e-6
    hair = same + np.array([0.01, 0, 0, 0, 0])
    assert habits.unusual_geometry(hair, sizes(60), np.zeros(60, dtype=int)).max() < 0.01


@pytest.mark.parametrize("known", [0, 49])
def test_too_few_rectangles_give_no_habits(known: int) -> None:
    given = rectangles(60, np.random.default_rng(3))
    given[known:] = np.nan
    assert fit_habits(given, sizes(60), np.zeros(60, dtype=int), 1) is None
