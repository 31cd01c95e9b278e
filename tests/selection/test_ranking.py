"""Ranking by a score: order, ties, missing scores, determinism."""

from __future__ import annotations

import math
from statistics import mean

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rsam_app.selection.strategy import percentile_ranks, rank

few_values = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan, math.inf]), min_size=1, max_size=30)


@settings(deadline=None)
@given(scores=few_values, budget=st.integers(1, 40), seed=st.integers(0, 5))
def test_rank_takes_the_largest_scores_each_once(scores: list[float], budget: int, seed: int) -> None:
    choice = rank(np.array(scores), budget, np.random.default_rng(seed))
    expected = sorted((s for s in scores if not math.isnan(s)), reverse=True) + [math.nan] * sum(
        map(math.isnan, scores)
    )
    assert len(set(choice.indices.tolist())) == len(choice.indices) == min(budget, len(scores))
    assert choice.indices.dtype == np.int64
    np.testing.assert_array_equal(choice.scores, expected[:budget])
    np.testing.assert_array_equal(np.array(scores)[choice.indices], choice.scores)


def test_ties_are_broken_by_the_seed_and_evenly() -> None:
    scores = np.array([1.0] + [0.5] * 9)
    first = [tuple(rank(scores, 4, np.random.default_rng(seed)).indices) for seed in range(300)]
    again = [tuple(rank(scores, 4, np.random.default_rng(seed)).indices) for seed in range(300)]
    assert first == again
    assert all(choice[0] == 0 for choice in first)
    drawn = np.bincount(np.array(first)[:, 1:].ravel(), minlength=10)[1:]
    assert drawn.sum() == 900
    assert drawn.min() > 60  # 100 expected of each; 60 is 4.9 standard deviations below


def test_missing_scores_are_counted() -> None:
    choice = rank(np.array([np.nan, 0.2, np.nan, 0.9]), 3, np.random.default_rng(0))
    assert choice.indices[:2].tolist() == [3, 1]
    assert choice.notes == ("2 of 4 records have no score and rank last (1 chosen)",)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.7, 2.0, math.nan]), min_size=1, max_size=12))
def test_percentile_rank_is_the_share_of_others_exceeded(scores: list[float]) -> None:
    ranks = percentile_ranks(np.array(scores))
    for i, score in enumerate(scores):
        others = [s for j, s in enumerate(scores) if j != i and not math.isnan(s)]
        if math.isnan(score):
            assert math.isnan(ranks[i])
        elif others:
            assert math.isclose(ranks[i], mean((s < score) + (s == score) / 2 for s in others), abs_tol=1e-12)
        else:
            assert ranks[i] == 1
