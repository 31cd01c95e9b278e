"""Strategies that choose a diverse batch, against plain references."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from rsam_app.selection import STRATEGIES, Pool
from rsam_app.selection.strategies import typiclust
from rsam_app.selection.strategies.badge import gradient_seeds
from rsam_app.selection.strategies.diverse_margin import nearest_to_centres
from rsam_app.selection.strategies.typiclust import typical_of_clusters, typicality

MakePool = Callable[..., Pool]


@pytest.mark.parametrize("seed", range(6))
def test_badge_draws_as_k_means_plus_plus_on_the_gradients_themselves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, vectors = rng.normal(size=(25, 4)), rng.normal(size=(25, 6))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    chosen, distances = gradient_seeds(probabilities, vectors, 8, np.random.default_rng(seed))
    gradients = []
    for p, x in zip(probabilities, vectors, strict=True):
        error = p - np.eye(4)[p.argmax()]
        gradients.append(np.outer(error, x).ravel())
    gradients = np.array(gradients)
    draws = np.random.default_rng(seed)
    expected = [int((gradients**2).sum(axis=1).argmax())]
    while len(expected) < 8:
        nearest = cdist(gradients, gradients[expected]).min(axis=1) ** 2
        nearest[expected] = 0
        expected.append(int(draws.choice(25, p=nearest / nearest.sum())))
    assert chosen.tolist() == expected
    for step in range(1, 8):
        reach = cdist(gradients[expected[step]][None], gradients[expected[:step]]).min() ** 2
        assert distances[step] == pytest.approx(reach, rel=1e-3)


def test_badge_takes_each_duplicate_group_once_before_any_twice() -> None:
    rng = np.random.default_rng(0)
    logits, vectors = np.repeat(rng.normal(size=(6, 3)), 5, axis=0), np.repeat(rng.normal(size=(6, 4)), 5, axis=0)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    chosen, distances = gradient_seeds(probabilities, vectors, 30, np.random.default_rng(0))
    assert sorted(chosen[:6] // 5) == list(range(6))
    assert sorted(chosen) == list(range(30)) and (distances[6:] == 0).all()


@pytest.mark.parametrize("neighbours", [1, 3, 20])
def test_typicality_is_the_inverse_mean_distance_to_neighbours(neighbours: int) -> None:
    points = np.random.default_rng(1).normal(size=(12, 3))
    expected = []
    for i, distances in enumerate(cdist(points, points)):
        nearest = sorted(np.delete(distances, i))[:neighbours]
        expected.append(len(nearest) / sum(nearest))
    np.testing.assert_allclose(typicality(points, neighbours), expected, rtol=1e-6)


def test_typical_of_clusters_takes_unlabelled_large_clusters_first() -> None:
    """Cluster 0 has a label, 1 and 2 have none and 2 is the larger, 3 is too small to matter."""
    clusters = np.repeat([0, 1, 2, 3], [9, 6, 7, 2])
    typical = np.arange(24.0)
    labelled = np.zeros(24, dtype=bool)
    labelled[8] = True
    assert typical_of_clusters(clusters, typical, labelled, 5).tolist() == [21, 14, 7, 23, 20]
    everything = typical_of_clusters(clusters, typical, labelled, 99)
    assert sorted(everything.tolist()) == [i for i in range(24) if i != 8]


def test_typiclust_covers_blobs_that_have_no_label(make_pool: MakePool) -> None:
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.normal(size=(4, 8)) * 9, 10, axis=0) + rng.normal(size=(40, 8)) * 0.1
    pool = make_pool(rng.normal(size=(40, 4)), [None] * 40, embeddings=vectors)
    seen = pool.without({i for i in pool.ids if int(i[7:11]) < 5})
    chosen = STRATEGIES["typiclust"](seen, 3, np.random.default_rng(0)).indices
    assert sorted(int(seen.ids[i][7:11]) // 10 for i in chosen) == [1, 2, 3]


def test_typiclust_samples_a_large_pool_and_meets_the_budget(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typiclust, "MAX_RECORDS", 10)
    rng = np.random.default_rng(0)
    pool = make_pool(rng.normal(size=(40, 4)), [None] * 40, embeddings=rng.normal(size=(40, 3)))
    seen = pool.without(set(pool.ids[:15]))
    for budget in (3, 20):
        choice = STRATEGIES["typiclust"](seen, budget, np.random.default_rng(1))
        assert len(set(choice.indices.tolist())) == budget and not np.isnan(choice.scores).any()


def test_nearest_to_centres_takes_each_point_once() -> None:
    points, centres = np.array([[0.0], [1.0], [5.0]]), np.array([[0.1], [0.2], [9.0]])
    assert nearest_to_centres(points, centres).tolist() == [0, 1, 2]


def test_diverse_margin_chooses_among_the_narrowest_only(make_pool: MakePool) -> None:
    rng = np.random.default_rng(0)
    pool = make_pool(rng.normal(size=(40, 4)), [None] * 40, embeddings=rng.normal(size=(40, 6)))
    choice = STRATEGIES["diverse_margin"](pool, 5, np.random.default_rng(0))
    assert set(choice.indices) <= set(np.argsort(pool.margin)[:20])


def test_diverse_margin_takes_one_of_each_group_of_duplicates(make_pool: MakePool) -> None:
    rng = np.random.default_rng(0)
    vectors = np.tile(np.eye(5), (8, 1))
    pool = make_pool(rng.normal(size=(40, 4)) * 0.01, [None] * 40, embeddings=vectors)
    chosen = STRATEGIES["diverse_margin"](pool, 5, np.random.default_rng(0)).indices
    assert sorted(chosen % 5) == [0, 1, 2, 3, 4]
