"""Failure clusters: groups of misattended images, the larger first, and those that were answered later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rsam_app.selection import STRATEGIES, Pool
from rsam_app.selection.strategies import failure_clusters
from rsam_app.selection.strategies.failure_clusters import choose_from_clusters

MakePool = Callable[..., Pool]


@pytest.fixture
def failures(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """12 images that look wrong in one way, 8 in another, and 20 that look right."""
    monkeypatch.setattr(failure_clusters, "CLUSTERS", 3)
    rng = np.random.default_rng(0)
    ways = np.repeat(np.eye(3), [12, 8, 20], axis=0)
    wrong = np.repeat([0.9, 0.8, 0.1], [12, 8, 20])
    vectors = ways + 0.05 * rng.normal(size=(40, 3))
    return make_pool(rng.normal(size=(40, 4)), ["wren"] * 40, misattention=wrong, embeddings=vectors)


def pick(pool: Pool, budget: int) -> list[int]:
    """The way in which each chosen image looks wrong; 2 for those that look right."""
    chosen = STRATEGIES["failure_clusters"](pool, budget, np.random.default_rng(0)).indices
    return np.repeat([0, 1, 2], [12, 8, 20])[[int(pool.ids[i][-8:-4]) for i in chosen]].tolist()


def test_each_failure_gets_an_image_the_larger_first(failures: Pool) -> None:
    """Worth 12 · .9, 8 · .8 and 20 · .1 for the first answer, and that divided by 2 for the second."""
    assert pick(failures, 5) == [0, 1, 0, 0, 1]
    assert pick(failures, 40).count(2) == 20


def test_answers_lower_the_worth_of_their_group(failures: Pool) -> None:
    answered = failures.without(set(failures.ids[:1]))  # 11 · .9 / 2 is less than 8 · .8, and more than its half
    assert len(answered) == 39 and pick(answered, 2) == [1, 0]
    elsewhere = replace(failures, covered=np.array([[0.0, 0.0, 1.0]] * 5))
    assert pick(elsewhere, 3) == [0, 1, 0]


def test_the_first_of_a_group_is_its_most_central_image(failures: Pool) -> None:
    choice = STRATEGIES["failure_clusters"](failures, 1, np.random.default_rng(0))
    units = failures.embeddings.astype(float) / np.linalg.norm(failures.embeddings.astype(float), axis=1, keepdims=True)
    first = units[:12]
    assert choice.indices[0] == np.linalg.norm(first - first.mean(axis=0), axis=1).argmin()
    assert choice.scores[0] == pytest.approx(12 * 0.9, rel=1e-3)
    assert (
        "10.8 misattention for each answer there, 0.90" in STRATEGIES["failure_clusters"].reasons(failures, choice)[0]
    )


def test_worth_is_the_weight_per_answer() -> None:
    clusters, distances = np.array([0, 0, 0, 1, 1]), np.array([0.3, 0.1, 0.2, 0.5, 0.4])
    chosen, worths = choose_from_clusters(clusters, distances, np.ones(5), np.array([1, 0]), 9)
    assert chosen.tolist() == [4, 1, 2, 3, 0]
    assert worths.tolist() == pytest.approx([2, 1.5, 1, 1, 0.75])
