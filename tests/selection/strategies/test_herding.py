"""Herding against its definition, evaluated from scratch at every step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rsam_app.selection import STRATEGIES, Pool
from rsam_app.selection.strategies import herding
from rsam_app.selection.strategies.herding import herd

MakePool = Callable[..., Pool]


def coverage(similarity: np.ndarray, weights: np.ndarray, covered: np.ndarray, chosen: list[int]) -> float:
    return sum(
        w * max([float(c), *(float(row[j]) for j in chosen)])
        for row, w, c in zip(similarity, weights, covered, strict=True)
    )


@pytest.mark.parametrize("seed", range(12))
def test_each_pick_adds_the_most(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anchors, candidates = rng.integers(1, 30, 2)
    similarity, weights = rng.random((anchors, candidates)), rng.random(anchors)
    covered = rng.random(anchors) * (seed % 2)
    chosen, gains = herd(similarity, weights, covered, 10)
    assert len(set(chosen.tolist())) == len(chosen) == min(10, candidates)
    for step, gain in enumerate(gains):
        before = chosen[:step].tolist()
        base = coverage(similarity, weights, covered, before)
        added = {j: coverage(similarity, weights, covered, [*before, j]) - base for j in range(candidates)}
        free = [added[j] for j in range(candidates) if j not in before]
        assert gain == pytest.approx(added[int(chosen[step])], abs=1e-9) == pytest.approx(max(free), abs=1e-9)


def test_many_candidates_at_a_time_do_not_change_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    arguments = (rng.random((50, 300)), rng.random(50), np.zeros(50), 40)
    whole = herd(*arguments)
    monkeypatch.setattr(herding, "_BATCH", 1)
    monkeypatch.setattr(herding, "_COLUMNS", 7)
    np.testing.assert_array_equal(whole[0], herd(*arguments)[0])


def test_the_strategy_covers_what_is_uncertain(make_pool: MakePool) -> None:
    """The definition with dense loops, on a pool with uncertain records and some reviewed before."""
    rng = np.random.default_rng(3)
    vectors, logits = rng.normal(size=(30, 5)).astype(np.float16), rng.normal(size=(30, 4)) * 2
    pool = make_pool(logits, [None] * 30, embeddings=vectors)
    pool = replace(pool, covered=rng.normal(size=(4, 5)).astype(np.float32))
    choice = STRATEGIES["herding"](pool, 6, np.random.default_rng(0))
    unit = [v.astype(float) / np.linalg.norm(v.astype(float)) for v in vectors]
    seen = [v / np.linalg.norm(v) for v in pool.covered.astype(float)]
    width = herding.WIDTH * float(np.median([math.dist(unit[i], unit[j]) for i in range(30) for j in range(i)]))
    similarity = np.array([[math.exp(-(math.dist(a, b) ** 2) / width**2) for b in unit] for a in unit])
    covered = np.array([max(math.exp(-(math.dist(a, b) ** 2) / width**2) for b in seen) for a in unit])
    weights = 1 - pool.margin.astype(float)
    expected: list[int] = []
    while len(expected) < 6:
        worth = [-1.0 if j in expected else coverage(similarity, weights, covered, [*expected, j]) for j in range(30)]
        expected.append(int(np.argmax(worth)))
    assert choice.indices.tolist() == expected


def test_without_a_model_every_cluster_is_covered_before_one_is_again(make_pool: MakePool) -> None:
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.normal(size=(5, 12)), 8, axis=0) + 0.01 * rng.normal(size=(40, 12))
    pool = make_pool(np.full((40, 4), np.nan), [None] * 40, embeddings=vectors)
    choice = STRATEGIES["herding"](pool, 5, np.random.default_rng(0))
    assert sorted(choice.indices // 8) == [0, 1, 2, 3, 4]
    assert "no chosen one is like yet" in STRATEGIES["herding"].reasons(pool, choice)[0]


def test_a_large_pool_is_sampled_and_the_budget_is_met(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herding, "ANCHORS", 8)
    monkeypatch.setattr(herding, "CANDIDATES", 10)
    rng = np.random.default_rng(0)
    pool = make_pool(rng.normal(size=(40, 4)), [None] * 40, embeddings=rng.normal(size=(40, 3)))
    for budget in (3, 25):
        chosen = STRATEGIES["herding"](pool, budget, np.random.default_rng(1)).indices
        assert len(set(chosen.tolist())) == budget
