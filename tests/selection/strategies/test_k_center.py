"""Greedy k-center against brute force in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsam_app.selection.strategies import k_center
from rsam_app.selection.strategies.k_center import k_center_greedy


def brute_force(points: np.ndarray, budget: int, chosen: list[int], centers: np.ndarray) -> list[int]:
    """Compute every distance at every step, one pair at a time."""
    chosen = list(chosen)
    while len(chosen) < budget:
        around = [*centers, *points[chosen]]
        reach = [-1.0 if i in chosen else min(np.linalg.norm(p - c) for c in around) for i, p in enumerate(points)]
        chosen.append(int(np.argmax(reach)))
    return chosen


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), d=st.integers(1, 8), m=st.integers(0, 4), half=st.booleans())
def test_equals_brute_force(seed: int, n: int, d: int, m: int, half: bool) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, d)).astype(np.float16 if half else np.float32)
    centers = rng.normal(size=(m, d)).astype(np.float32)
    budget = min(n, 12)
    chosen, distances = k_center_greedy(points, budget, np.random.default_rng(seed), centers if m else None)
    exact = points.astype(np.float64)
    first = [] if m else [int(chosen[0])]
    expected = brute_force(exact, budget, first, centers.astype(np.float64))
    for step in range(len(first), budget):
        # Two candidates may be equally far within float32; each pick must be as far as the farthest.
        around = [*centers.astype(np.float64), *exact[chosen[:step]]]
        reach = [min(np.linalg.norm(p - c) for c in around) for p in exact]
        assert reach[chosen[step]] == pytest.approx(max(reach), abs=1e-4)
        assert distances[step] == pytest.approx(reach[chosen[step]], abs=1e-3)
    if n > 2 and not half and d > 1:
        assert chosen.tolist() == expected


def test_covers_clusters_before_it_returns_to_one() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 16)) * 50
    points = np.repeat(centres, 100, axis=0) + rng.normal(size=(1000, 16)) * 0.1 + 1000
    chosen, distances = k_center_greedy(points, 11, np.random.default_rng(0))
    assert sorted(chosen[:10] // 100) == list(range(10))
    assert np.isinf(distances[0])
    assert (np.diff(distances[1:]) <= 1e-3).all()
    assert distances[10] < 2


def test_covered_clusters_are_left_alone() -> None:
    points = np.concatenate([np.zeros((50, 3)), np.full((50, 3), 9.0)]) + np.random.default_rng(0).random((100, 3))
    chosen, distances = k_center_greedy(points, 1, np.random.default_rng(0), centers=np.zeros((1, 3)))
    assert chosen[0] >= 50
    assert np.isfinite(distances).all()


def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    points, centers = rng.normal(size=(300, 8)), rng.normal(size=(40, 8))
    whole, _ = k_center_greedy(points, 20, np.random.default_rng(0), centers)
    monkeypatch.setattr(k_center, "ROWS", 7)
    blocked, _ = k_center_greedy(points, 20, np.random.default_rng(0), centers)
    np.testing.assert_array_equal(whole, blocked)


@pytest.mark.parametrize("frontier", [1, 2, 17])
@pytest.mark.parametrize("repeats", [1, 6])
def test_updating_only_the_farthest_does_not_change_the_answer(
    frontier: int, repeats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = np.random.default_rng(5).integers(-4, 5, size=(30, 3)).repeat(repeats, axis=0).astype(np.float32)
    points = np.concatenate([half, -half])  # mean 0, so that all distances, and ties between them, are exact
    whole = k_center_greedy(points, len(points), np.random.default_rng(0), np.zeros((1, 3)))
    monkeypatch.setattr(k_center, "FRONTIER", frontier)
    monkeypatch.setattr(k_center, "PENDING", 3)
    np.testing.assert_array_equal(
        k_center_greedy(points, len(points), np.random.default_rng(0), np.zeros((1, 3))), whole
    )
    around = np.concatenate([np.zeros((1, 3)), points[whole[0][:40]]])
    reach = [np.linalg.norm(around - p, axis=1).min() for p in points]
    assert whole[1][40] == pytest.approx(max(reach), abs=1e-3)


def test_duplicates_come_after_everything_else() -> None:
    points = np.repeat(np.random.default_rng(0).normal(size=(5, 4)), 4, axis=0)
    chosen, distances = k_center_greedy(points, 20, np.random.default_rng(0))
    assert sorted(chosen[:5] // 4) == list(range(5))
    assert sorted(chosen.tolist()) == list(range(20))
    assert distances[5:] == pytest.approx(0, abs=1e-2)


def test_without_any_finite_embedding_the_order_is_random_but_complete() -> None:
    chosen, distances = k_center_greedy(np.full((6, 3), np.nan), 4, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 4
    assert np.isnan(distances).all()
