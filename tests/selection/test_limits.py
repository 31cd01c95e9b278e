"""Limits hold for every strategy's choice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from rsam_app.run.folder import RunFolder
from rsam_app.selection import STRATEGIES, Limits, Pool, choose_within, replay, select
from rsam_app.system.errors import UserError


@pytest.fixture
def pool(make_pool: Callable[..., Pool], random_logits: np.ndarray) -> Pool:
    """40 records; each embedding occurs twice."""
    rng = np.random.default_rng(1)
    vectors = np.tile(rng.normal(size=(20, 6)), (2, 1))
    labels = [("wren", "wryneck", "zilpzalp", "Grünfink")[c] for c in rng.integers(0, 4, 40)]
    return make_pool(random_logits, labels, misattention=rng.random(40), embeddings=vectors)


@pytest.mark.parametrize("name", STRATEGIES)
def test_limits_hold_and_the_budget_is_met(name: str, pool: Pool) -> None:
    limits = Limits(per_class=3, near_duplicates=0.999)
    choice = choose_within(STRATEGIES[name], pool, 10, np.random.default_rng(0), limits)
    assert len(choice.indices) == len(set(choice.indices.tolist())) == 10
    assert max(Counter(pool.predicted[i] for i in choice.indices).values()) <= 3
    assert len(set(choice.indices % 20)) == 10
    again = choose_within(STRATEGIES[name], pool, 10, np.random.default_rng(0), limits)
    np.testing.assert_array_equal(choice.indices, again.indices)


def test_a_ranking_within_limits_omits_the_records_that_break_them(pool: Pool) -> None:
    counts: Counter[str] = Counter()
    expected: list[int] = []
    for row in np.argsort(pool.margin, kind="stable"):
        if counts[pool.predicted[row]] < 2 and not any(row % 20 == other % 20 for other in expected):
            expected.append(int(row))
            counts[pool.predicted[row]] += 1
    choice = choose_within(STRATEGIES["margin"], pool, 6, np.random.default_rng(0), Limits(2, 0.999))
    assert choice.indices.tolist() == expected[:6]


def test_a_near_duplicate_of_a_reviewed_record_is_left_out(pool: Pool) -> None:
    rest = pool.without(set(pool.ids[:20]))
    choice = choose_within(STRATEGIES["random"], rest, 5, np.random.default_rng(0), Limits(near_duplicates=0.999))
    assert len(choice.indices) == 0
    assert "the limits leave 0 of 20" in choice.notes[-1]


def test_limits_out_of_range_are_refused(pool: Pool) -> None:
    for limits, word in ((Limits(per_class=0), "per_class is 0"), (Limits(near_duplicates=1.5), "near_duplicates is")):
        with pytest.raises(UserError, match=word):
            choose_within(STRATEGIES["margin"], pool, 5, np.random.default_rng(0), limits)


def test_a_limited_selection_is_replayed(make_run: Callable[..., RunFolder], random_logits: np.ndarray) -> None:
    run = make_run(random_logits, ["wren"] * 40, embeddings=np.random.default_rng(0).normal(size=(40, 6)))
    made = select(run, "margin", 8, "train", seed=0, limits=Limits(3, 0.9))
    assert json.loads(made.manifest.read_text())["limits"] == {"per_class": 3, "near_duplicates": 0.9}
    assert replay(run, made.manifest) == made
