"""Nearest neighbours against all distances, computed one by one."""

from __future__ import annotations

import numpy as np
import pytest

from rsam_app.data.near_duplicates import nearest_neighbours
from rsam_app.data.near_duplicates.nearest_neighbours import Neighbours


def clusters(count: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, width))
    return (centres[rng.integers(0, 20, count)] + 0.5 * rng.normal(size=(count, width))).astype(np.float32)


def all_distances(queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    return ((queries[:, None].astype(float) - points[None].astype(float)) ** 2).sum(axis=2)


@pytest.mark.parametrize("blocks", [(32_768, 8192), (50, 37)])
def test_few_points_are_searched_exactly(blocks: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_neighbours, "QUERY_BLOCK", blocks[0])
    monkeypatch.setattr(nearest_neighbours, "POINT_BLOCK", blocks[1])
    points, queries = clusters(300, 12), clusters(90, 12, seed=1)
    found, squared = Neighbours(points).search(queries, 5)
    true = all_distances(queries, points)
    np.testing.assert_array_equal(found, np.argsort(true, axis=1)[:, :5])
    np.testing.assert_allclose(squared, np.sort(true, axis=1)[:, :5], rtol=1e-4)


def test_the_own_row_is_ignored_but_its_duplicates_count() -> None:
    points = clusters(200, 8)
    points[40] = points[3]
    own = np.arange(200)
    found, squared = Neighbours(points).search(points, 2, own)
    assert (found != own[:, None]).all()
    assert found[3, 0] == 40 and found[40, 0] == 3 and squared[3, 0] == pytest.approx(0, abs=1e-4)
    true = all_distances(points, points) + np.diag(np.full(200, np.inf))
    rest = np.setdiff1d(own, [3, 40])
    np.testing.assert_array_equal(found[rest, 0], true.argmin(axis=1)[rest])


def test_missing_neighbours_are_minus_one() -> None:
    points = clusters(3, 4)
    found, squared = Neighbours(points).search(points, 4, np.arange(3))
    assert (found[:, 2:] == -1).all() and np.isinf(squared[:, 2:]).all() and (found[:, :2] >= 0).all()
    found, squared = Neighbours(points[:0]).search(points, 2)
    assert (found == -1).all() and np.isinf(squared).all()
    assert Neighbours(points).search(points[:0], 2)[0].shape == (0, 2)


def test_cells_find_nearly_all_and_are_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    points = clusters(3000, 16)
    queries = points[:800]
    exact, _ = Neighbours(points).search(queries, 3, np.arange(800))
    monkeypatch.setattr(nearest_neighbours, "MAX_EXACT_POINTS", 500)
    monkeypatch.setattr(nearest_neighbours, "QUERY_BLOCK", 333)
    told: list[tuple[int, int]] = []
    parted = Neighbours(points)
    assert len(parted.centres) > 100
    found, squared = parted.search(queries, 3, np.arange(800), lambda done, total: told.append((done, total)))
    assert (found == exact).mean() > 0.9
    assert told == [(333, 800), (666, 800), (800, 800)]
    rows, places = np.nonzero(found >= 0)
    true = ((queries[rows].astype(float) - points[found[rows, places]]) ** 2).sum(axis=1)
    np.testing.assert_allclose(squared[rows, places], true, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(Neighbours(points).search(queries, 3, np.arange(800))[0], found)


def test_copies_are_found_in_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_neighbours, "MAX_EXACT_POINTS", 500)
    points = clusters(2000, 16)
    points[1000:] = points[:1000] + 1e-3 * clusters(1000, 16, seed=2)
    found, _ = Neighbours(points, probes=4).search(points, 1, np.arange(2000))
    assert (found[:, 0] == (np.arange(2000) + 1000) % 2000).mean() > 0.995


def test_many_equal_points_are_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_neighbours, "MAX_EXACT_POINTS", 100)
    points = np.ones((400, 8), dtype=np.float32)
    found, squared = Neighbours(points).search(points, 2, np.arange(400))
    assert (found >= 0).all() and (squared == 0).all() and (found != np.arange(400)[:, None]).all()
