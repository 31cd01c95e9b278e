"""Near-duplicates against all cosines, and the map of embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from rsam_app.review.alike import find_alike
from rsam_app.review.embedding_map import map_embeddings


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    """300 vectors on ten clusters; 7 is 3 again, 250 almost 4, 9 and 10 are chained through 11."""
    rng = np.random.default_rng(0)
    found = (rng.normal(size=(10, 96))[rng.integers(0, 10, 300)] + 0.7 * rng.normal(size=(300, 96))).astype(np.float16)
    found[7] = found[3]
    found[250] = found[4] * 1.5 + 0.01 * rng.normal(size=96)
    step = rng.normal(size=96)
    step *= 0.2 * np.linalg.norm(found[9]) / np.linalg.norm(step)
    found[11], found[10] = found[9] + step, found[9] + 2 * step
    return found


def test_near_duplicates_are_those_of_all_pairs(embeddings: np.ndarray) -> None:
    splits = np.array(["train"] * 200 + ["test"] * 100)
    alike = find_alike(embeddings, splits)
    units = embeddings.astype(np.float64) / np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    cosines = units @ units.T - 3 * np.eye(300)
    near = cosines.max(axis=1) >= 0.97
    np.testing.assert_array_equal(alike.group >= 0, near)
    np.testing.assert_allclose(alike.nearest[near], cosines.max(axis=1)[near], atol=1e-3)
    assert alike.group[3] == alike.group[7] == 3
    assert alike.group[4] == alike.group[250] == 4
    assert alike.group[9] == alike.group[10] == alike.group[11] == 9, "alike through another one"
    assert alike.elsewhere[4] > 0.99 and alike.elsewhere[3] < 0.97, "only one pair lies in two splits"


def test_what_is_no_vector_is_like_nothing() -> None:
    broken = np.zeros((4, 8), dtype=np.float16)
    broken[1] = np.nan
    broken[2:] = 1
    alike = find_alike(broken, np.array(["train"] * 4))
    assert np.isnan(alike.nearest[:2]).all() and alike.nearest[2] == pytest.approx(1, abs=1e-3)
    assert np.isnan(alike.elsewhere).all()
    assert (find_alike(broken[:1], np.array(["train"])).group == -1).all()


def test_the_map_keeps_clusters_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from rsam_app.review import embedding_map

    rng = np.random.default_rng(1)
    of = np.arange(240) % 3
    points = 6 * rng.normal(size=(3, 32))[of] + rng.normal(size=(240, 32))
    points[5] = np.nan
    monkeypatch.setattr(embedding_map, "LANDMARKS", 120)
    placed = map_embeddings(points)
    assert placed.shape == (240, 2) and np.isfinite(placed).all() and (placed[5] == 0).all()
    rest = np.delete(np.arange(240), 5)
    apart = np.linalg.norm(placed[rest][:, None] - placed[rest][None], axis=2) + 1e9 * np.eye(239)
    assert (of[rest][apart.argmin(axis=1)] == of[rest]).mean() > 0.98
    np.testing.assert_array_equal(placed, map_embeddings(points))


def test_a_handful_of_images_is_no_map() -> None:
    assert map_embeddings(np.ones((3, 8))).tolist() == [[0, 0]] * 3
