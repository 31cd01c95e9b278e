"""Transductive design against its definition: covariances by matrix inversion for every candidate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rsam_app.selection import STRATEGIES, Pool
from rsam_app.selection.strategies import transductive_design
from rsam_app.selection.strategies.transductive_design import DECIDED, NOISE, WIDTHS, Posterior

MakePool = Callable[..., Pool]


def units(rng: np.random.Generator, count: int, width: int = 5) -> np.ndarray:
    points = rng.normal(size=(count, width))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def kernel(first: np.ndarray, second: np.ndarray, widths: tuple[float, ...]) -> np.ndarray:
    squares = ((first[:, None] - second[None]) ** 2).sum(axis=2)
    return np.mean([np.exp(-squares / width**2) for width in widths], axis=0)


def unknown(
    anchors: np.ndarray, known: np.ndarray, weights: np.ndarray, widths: tuple[float, ...], noise: float = NOISE
) -> float:
    """Weighted variance of the anchors once `known` are labelled, by the definition."""
    if not len(known):
        return float(weights.sum())
    across = kernel(anchors, known, widths)
    inverse = np.linalg.inv(kernel(known, known, widths) + noise * np.eye(len(known)))
    return float(weights @ (1 - np.einsum("ak,kl,al->a", across, inverse, across)))


@pytest.mark.parametrize("seed", range(6))
def test_gains_are_what_the_variance_falls_by(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anchors, candidates, labelled = units(rng, 12), units(rng, 9), units(rng, 4 * (seed % 2))
    weights, widths = rng.random(12), (0.4, 1.1)
    given = [points.astype(np.float32) for points in (anchors, candidates, labelled)]
    posterior = Posterior(*given, weights, widths, budget=9)
    known = labelled
    for chosen in rng.permutation(9):
        before = unknown(anchors, known, weights, widths)
        falls = [before - unknown(anchors, np.vstack([known, one[None]]), weights, widths) for one in candidates]
        np.testing.assert_allclose(posterior.gains(), falls, atol=2e-4)
        posterior.label(int(chosen))
        known = np.vstack([known, candidates[chosen][None]])


def test_the_strategy_takes_what_tells_most_about_unsure_records(make_pool: MakePool) -> None:
    rng = np.random.default_rng(3)
    vectors, logits = rng.normal(size=(30, 5)).astype(np.float32), rng.normal(size=(30, 4)) * 2
    pool = make_pool(logits, [None] * 30, embeddings=vectors)
    pool = replace(pool, covered=rng.normal(size=(4, 5)).astype(np.float32))
    choice = STRATEGIES["transductive_design"](pool, 6, np.random.default_rng(0))
    points, known = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors.astype(float), pool.covered))
    apart = [float(np.linalg.norm(points[i] - points[j])) for i in range(30) for j in range(i)]
    widths = tuple(width * float(np.median(apart)) for width in WIDTHS)
    weights = DECIDED + (1 - DECIDED) * (1 - pool.margin.astype(float))
    for chosen, score in zip(choice.indices.tolist(), choice.scores.tolist(), strict=True):
        before = unknown(points, known, weights, widths)
        falls = [before - unknown(points, np.vstack([known, one[None]]), weights, widths) for one in points]
        assert score == pytest.approx(falls[chosen], abs=1e-3)
        free = [
            fall for i, fall in enumerate(falls) if i not in choice.indices[: choice.indices.tolist().index(chosen)]
        ]
        assert falls[chosen] == pytest.approx(max(free), abs=1e-3)
        known = np.vstack([known, points[chosen][None]])


def test_copies_of_what_is_labelled_come_last(make_pool: MakePool) -> None:
    rng = np.random.default_rng(0)
    labelled, new = units(rng, 6, 24).astype(np.float32), units(rng, 6, 24).astype(np.float32)
    pool = make_pool(rng.normal(size=(12, 4)), [None] * 12, embeddings=np.concatenate([labelled, new]))
    choice = STRATEGIES["transductive_design"](replace(pool, covered=labelled), 12, np.random.default_rng(0))
    assert sorted(choice.indices[:6].tolist()) == list(range(6, 12))


def test_a_large_pool_is_sampled_and_the_budget_is_met(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("ANCHORS", 8), ("CANDIDATES", 10), ("LABELLED", 3)):
        monkeypatch.setattr(transductive_design, name, most)
    rng = np.random.default_rng(0)
    pool = make_pool(rng.normal(size=(40, 4)), [None] * 40, embeddings=rng.normal(size=(40, 3)))
    pool = replace(pool, covered=rng.normal(size=(9, 3)).astype(np.float32))
    for budget in (3, 25):
        chosen = STRATEGIES["transductive_design"](pool, budget, np.random.default_rng(1)).indices
        assert len(set(chosen.tolist())) == budget


def test_reasons_name_how_much_it_tells_and_what_the_model_says(make_pool: MakePool) -> None:
    rng = np.random.default_rng(0)
    pool = make_pool(rng.normal(size=(20, 4)), [None] * 20, embeddings=rng.normal(size=(20, 3)))
    strategy = STRATEGIES["transductive_design"]
    choice = strategy(pool, 3, np.random.default_rng(0))
    first = strategy.reasons(pool, choice)[0]
    assert f"about {choice.scores[0]:.1f} images" in first and pool.predicted[choice.indices[0]] in first
    without_model = make_pool(np.full((20, 4), np.nan), [None] * 20, embeddings=rng.normal(size=(20, 3)))
    assert "; now" not in strategy.reasons(without_model, strategy(without_model, 2, np.random.default_rng(0)))[0]
