"""Nearest embeddings against all cosines, and the map of embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from rsam_app.data.near_duplicates import nearest_neighbours
from rsam_app.review.analysis import embeddings as module
from rsam_app.review.analysis.embeddings import map_embeddings, nearest_cosines


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    """600 vectors on ten clusters; 7 equals 3, 250 is almost 4 but longer."""
    rng = np.random.default_rng(0)
    found = (rng.normal(size=(10, 96))[rng.integers(0, 10, 600)] + 0.7 * rng.normal(size=(600, 96))).astype(np.float16)
    found[7] = found[3]
    found[250] = found[4] * 1.5 + 0.01 * rng.normal(size=96)
    return found


@pytest.mark.parametrize("exact", [20_000, 100])
def test_the_nearest_are_those_of_all_pairs(
    embeddings: np.ndarray, exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest_neighbours, "MAX_EXACT_POINTS", exact)
    monkeypatch.setattr(module, "BLOCK", 250)
    units = embeddings.astype(np.float64) / np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    true = (units @ units.T - 3 * np.eye(600)).max(axis=1)
    found = nearest_cosines(embeddings)
    assert (found <= true + 1e-3).all()
    assert (np.abs(found - true) < 0.01).mean() > (0.9 if exact > 600 else 0.75)
    np.testing.assert_allclose(found[[3, 7, 4, 250]], true[[3, 7, 4, 250]], atol=1e-3)


def test_zero_and_nonfinite_rows_have_no_neighbour() -> None:
    broken = np.zeros((4, 8), dtype=np.float16)
    broken[1] = np.nan
    broken[2:] = 1
    nearest = nearest_cosines(broken)
    assert np.isnan(nearest[:2]).all() and nearest[2] == nearest[3] == pytest.approx(1, abs=1e-3)
    assert np.isnan(nearest_cosines(broken[:1])).all()


def test_the_map_keeps_clusters_together(monkeypatch: pytest.MonkeyPatch) -> None:

    rng = np.random.default_rng(1)
    of = np.arange(240) % 3
    points = 6 * rng.normal(size=(3, 32))[of] + rng.normal(size=(240, 32))
    points[5] = np.nan
    monkeypatch.setattr(module, "LANDMARKS", 120)
    placed = map_embeddings(points)
    assert placed.shape == (240, 2) and np.isfinite(placed).all() and (placed[5] == 0).all()
    rest = np.delete(np.arange(240), 5)
    apart = np.linalg.norm(placed[rest][:, None] - placed[rest][None], axis=2) + 1e9 * np.eye(239)
    assert (of[rest][apart.argmin(axis=1)] == of[rest]).mean() > 0.98
    np.testing.assert_array_equal(placed, map_embeddings(points))


def test_very_few_images_lie_at_the_origin() -> None:
    assert map_embeddings(np.ones((3, 8))).tolist() == [[0, 0]] * 3
