"""Strategies that choose a batch against plain references, end to end; and empty pools."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from rsam_app.run.folder import RunFolder
from rsam_app.selection import STRATEGIES, Pool, select
from rsam_app.selection.strategies.auto import worst_of_two
from rsam_app.selection.strategies.diverse_margin import SHORTLIST
from rsam_app.selection.strategies.herding import DECIDED, WIDTH
from rsam_app.selection.strategies.typiclust import SMALLEST
from rsam_app.system.errors import UserError

MakePool = Callable[..., Pool]


@pytest.fixture(params=range(3))
def pool(make_pool: MakePool, request: pytest.FixtureRequest) -> Pool:
    """36 records without labels, 6 reviewed before."""
    rng = np.random.default_rng(request.param)
    vectors = rng.normal(size=(36, 5)).astype(np.float32)
    made = make_pool(rng.normal(size=(36, 4)) * 2, [None] * 36, embeddings=vectors)
    return replace(made, covered=rng.normal(size=(6, 5)).astype(np.float32))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def unit(vector: np.ndarray) -> np.ndarray:
    return vector.astype(np.float64) / np.linalg.norm(vector.astype(np.float64))


def test_herding_adds_what_is_unlike_the_chosen_and_represents_uncertain_records(pool: Pool) -> None:
    points, seen = [unit(v) for v in pool.embeddings], [unit(v) for v in pool.covered]
    width = WIDTH * float(np.median([distance(a, b) for a, b in combinations(points, 2)]))

    def alike(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(-((distance(a, b) / width) ** 2))

    def worth(chosen: list[int]) -> float:
        kept = [*seen, *(points[j] for j in chosen)]
        torn = [1 - (1 - DECIDED) * float(margin) for margin in pool.margin]
        return sum(w * max(alike(p, k) for k in kept) for w, p in zip(torn, points, strict=True))

    expected: list[int] = []
    for _ in range(8):
        expected.append(max((i for i in range(36) if i not in expected), key=lambda i: worth([*expected, i])))
    choice = STRATEGIES["herding"](pool, 8, np.random.default_rng(0))
    assert choice.indices.tolist() == expected
    assert choice.scores.sum() == pytest.approx(worth(expected) - worth([]), rel=1e-3)


def test_diverse_margin_takes_the_nearest_to_each_centre_of_its_shortlist(pool: Pool) -> None:
    rng = np.random.default_rng(5)
    choice = STRATEGIES["diverse_margin"](pool, 6, np.random.default_rng(5))
    shortlist = sorted(range(36), key=lambda i: float(pool.margin[i]))[: 6 * SHORTLIST]
    rng.permutation(36)  # the strategy breaks ties by it before it clusters
    points = pool.embeddings[shortlist].astype(np.float32)
    centres = KMeans(6, n_init=1, random_state=int(rng.integers(2**31))).fit(points).cluster_centers_
    expected: list[int] = []
    for centre in centres:
        reach = {i: distance(pool.embeddings[i], centre) for i in shortlist if i not in expected}
        nearest = [i for i, r in reach.items() if r < min(reach.values()) + 1e-5]  # both, in a cluster of two
        expected.append(next((i for i in nearest if i in choice.indices), nearest[0]))
    assert choice.indices.tolist() == sorted(expected, key=lambda i: float(pool.margin[i]))


def test_typiclust_takes_the_densest_record_of_clusters_without_a_label(pool: Pool) -> None:
    rng = np.random.default_rng(7)
    choice = STRATEGIES["typiclust"](pool, 4, np.random.default_rng(7))
    points = np.concatenate([pool.embeddings, pool.covered]).astype(np.float32)
    found = KMeans(10, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(points)
    members = {c: [i for i in range(42) if found[i] == c] for c in range(10)}

    def density(i: int) -> float:
        near = [distance(points[i], points[j]) for j in members[found[i]] if j != i]
        return len(near) / sum(sorted(near)) if near else math.inf

    def turn(c: int) -> tuple[bool, int, int, int]:
        labels = sum(i >= 36 for i in members[c])
        return len(members[c]) < SMALLEST, labels, -len(members[c]), c

    expected: list[int] = []
    depth = 0
    while len(expected) < 4:
        for c in sorted(members, key=turn):
            dense = sorted((i for i in members[c] if i < 36), key=lambda i: -density(i))
            expected += dense[depth : depth + 1]
        depth += 1
    assert choice.indices.tolist() == expected[:4]


@pytest.mark.parametrize("seed", range(4))
def test_the_worse_of_two_faults_decides(seed: int) -> None:
    first, second = np.random.default_rng(seed).integers(0, 6, (2, 15)).astype(np.float64)

    def share(values: np.ndarray, i: int) -> float:
        others = [v for j, v in enumerate(values) if j != i]
        return sum(1.0 if v < values[i] else 0.5 if v == values[i] else 0.0 for v in others) / len(others)

    expected = [max(share(first, i), share(second, i)) for i in range(15)]
    assert worst_of_two(first, second) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_without_images_is_an_empty_pool(name: str, make_run: Callable[..., RunFolder]) -> None:
    run = make_run(np.zeros((0, 4)), [], embeddings=np.zeros((0, 6)))
    with pytest.raises(UserError, match="the pool is empty"):
        select(run, name, 5, "train", seed=0)


@pytest.mark.parametrize("name", STRATEGIES)
def test_infinite_numbers_come_last_too(name: str, make_pool: MakePool) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 3))
    vectors[2], vectors[9] = np.inf, -np.inf
    made = make_pool(rng.normal(size=(12, 4)), ["wren"] * 12, embeddings=vectors, misattention=rng.random(12))
    choice = STRATEGIES[name](made, 12, np.random.default_rng(0))
    assert sorted(choice.indices.tolist()) == list(range(12))
    if STRATEGIES[name].needs_embeddings:
        assert set(choice.indices[-2:].tolist()) == {2, 9}
