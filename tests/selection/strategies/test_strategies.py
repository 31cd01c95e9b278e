"""Every strategy against a plain reference, and the behaviour that all share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rsam_app.selection import STRATEGIES, Pool, find_strategy
from rsam_app.selection.strategies.auto import worst_of_two
from rsam_app.system.errors import UserError

MakePool = Callable[..., Pool]

CHOOSES_A_BATCH = ("typiclust", "diverse_margin")


@pytest.fixture
def pool(make_pool: MakePool, random_logits: np.ndarray) -> Pool:
    """40 labelled records with every score and embeddings."""
    rng = np.random.default_rng(1)
    labels = [("wren", "wryneck", "zilpzalp", "Grünfink")[c] for c in rng.integers(0, 4, 40)]
    return make_pool(random_logits, labels, misattention=rng.random(40), embeddings=rng.normal(size=(40, 6)))


def softmax(row: np.ndarray) -> list[float]:
    total = sum(math.exp(v) for v in row)
    return [math.exp(v) / total for v in row]


def reference(name: str, pool: Pool) -> list[float]:
    """Return scores by their definitions, one record at a time, from logits and labels alone."""
    scores = []
    for i in range(len(pool)):
        p = softmax(pool.logits[i])
        second, first = sorted(p)[-2:]
        given = p[pool.classes.index(pool.labels[i])]
        by_name = {
            "margin": 1 - (first - second),
            "entropy": -sum(v * math.log(v) for v in p),
            "least_confidence": 1 - first,
            "rare_class_first": sum(v / (1 + pool.labels.count(name)) for v, name in zip(p, pool.classes, strict=True)),
            "uncertain_attention": (1 - (first - second)) * float(pool.scores["misattention"][i]),
            "misattention": float(pool.scores["misattention"][i]),
            "suspect_label": 1 - given / (given + max(v for v in p if v is not given)),
        }
        scores.append(by_name[name])
    return scores


RANKED = ["margin", "entropy", "misattention", "suspect_label", "least_confidence", "rare_class_first"]


@pytest.mark.parametrize("name", [*RANKED, "uncertain_attention"])
def test_scores_rank_as_the_reference(name: str, pool: Pool) -> None:
    expected = reference(name, pool)
    choice = STRATEGIES[name](pool, 12, np.random.default_rng(0))
    assert choice.indices.tolist() == sorted(range(len(pool)), key=lambda i: -expected[i])[:12]
    np.testing.assert_allclose(choice.scores, sorted(expected, reverse=True)[:12], rtol=1e-4)


def test_suspect_label_uses_the_column_if_the_predictions_have_it(
    make_pool: MakePool, random_logits: np.ndarray
) -> None:
    quality = np.linspace(1, 0, 40)
    pool = make_pool(random_logits, ["wren"] * 40, label_quality=quality)
    choice = find_strategy("suspect_label")(pool, 3, np.random.default_rng(0))
    assert choice.indices.tolist() == [39, 38, 37]
    np.testing.assert_allclose(choice.scores, [1, 38 / 39, 37 / 39], rtol=1e-6)


def test_random_draws_every_record_equally_often(pool: Pool) -> None:
    draws = [STRATEGIES["random"](pool, 4, np.random.default_rng(seed)).indices for seed in range(400)]
    counts = np.bincount(np.concatenate(draws), minlength=40)
    assert counts.min() > 12 and counts.max() < 76  # 40 expected, standard deviation 6


def test_auto_finds_both_kinds_of_fault(make_pool: MakePool) -> None:
    """Five wrong labels and five misplaced rectangles among 200 that are mediocre in both: all ten come first."""
    rng = np.random.default_rng(2)
    logits = np.zeros((200, 4))
    logits[:, 0] = rng.uniform(1, 3, 200)
    labels = ["wren"] * 200
    misattention = rng.uniform(0.2, 0.6, 200)
    wrong_label, misplaced = list(range(10, 15)), list(range(100, 105))
    for i in wrong_label:
        labels[i] = "zilpzalp"
        misattention[i] = 0.1
    misattention[misplaced] = 0.95
    logits[misplaced, 0] = 5
    pool = make_pool(logits, labels, misattention=misattention)
    pool = replace(pool, classes=("wren", "wryneck", "zilpzalp", "Grünfink"))  # as the model's folder would give them
    choice = find_strategy("auto")(pool, 10, np.random.default_rng(0))
    assert sorted(choice.indices.tolist()) == wrong_label + misplaced


def test_worst_of_two_is_the_better_of_two_queues() -> None:
    first = np.array([0.9, 0.1, 0.5, np.nan, np.nan])
    second = np.array([0.1, 0.8, 0.5, 0.9, np.nan])
    combined = worst_of_two(first, second)
    assert np.isnan(combined[4])
    assert combined[:4] == pytest.approx([1, 2 / 3, 0.5, 1], abs=1e-5)


EMBEDDED = {"embeddings": np.random.default_rng(0).normal(size=(40, 6))}


@pytest.mark.parametrize(
    ("labels", "scores", "like", "note"),
    [
        (["wren"] * 40, {}, "suspect_label", "no misattention scores"),
        ([None] * 40, {"misattention": np.linspace(0, 1, 40)}, "margin", "no known labels"),
        ([None] * 40, EMBEDDED, "transductive_design", "by transductive_design"),
    ],
)
def test_auto_falls_back_and_says_so(
    make_pool: MakePool, random_logits: np.ndarray, labels: list[str | None], scores: dict, like: str, note: str
) -> None:
    pool = make_pool(random_logits, labels, **scores)
    choice = find_strategy("auto")(pool, 10, np.random.default_rng(0))
    assert choice.indices.tolist() == STRATEGIES[like](pool, 10, np.random.default_rng(0)).indices.tolist()
    assert note in choice.notes[-1]
    assert len(STRATEGIES["auto"].reasons(pool, choice)) == 10


def test_auto_herds_before_there_is_a_model(make_pool: MakePool) -> None:
    pool = make_pool(np.full((40, 4), np.nan), [None] * 40, **EMBEDDED)
    choice = find_strategy("auto")(pool, 10, np.random.default_rng(0))
    assert choice.indices.tolist() == STRATEGIES["herding"](pool, 10, np.random.default_rng(0)).indices.tolist()
    assert "by herding" in choice.notes[-1]


@pytest.mark.parametrize("name", STRATEGIES)
class TestEveryStrategy:
    def test_is_deterministic_by_seed(self, name: str, pool: Pool) -> None:
        first = STRATEGIES[name](pool, 15, np.random.default_rng(3))
        second = STRATEGIES[name](pool, 15, np.random.default_rng(3))
        np.testing.assert_array_equal(first.indices, second.indices)
        np.testing.assert_array_equal(first.scores, second.scores)

    def test_a_smaller_budget_is_the_beginning_of_a_larger(self, name: str, pool: Pool) -> None:
        if name in CHOOSES_A_BATCH:
            pytest.skip("chooses the batch as a whole: a cluster for each of its records")
        small = STRATEGIES[name](pool, 5, np.random.default_rng(3)).indices
        large = STRATEGIES[name](pool, 25, np.random.default_rng(3)).indices
        np.testing.assert_array_equal(small, large[:5])

    @pytest.mark.parametrize("budget", [40, 41, 10_000])
    def test_a_budget_as_large_as_the_pool_takes_everything_and_says_so(
        self, name: str, budget: int, pool: Pool
    ) -> None:
        choice = STRATEGIES[name](pool, budget, np.random.default_rng(0))
        assert sorted(choice.indices.tolist()) == list(range(40))
        assert f"the budget of {budget} covers the whole pool" in choice.notes[-1]

    def test_duplicates_are_each_chosen_at_most_once(self, name: str, pool: Pool) -> None:
        twins = pool.take(np.zeros(30, dtype=np.int64))
        choice = STRATEGIES[name](twins, 12, np.random.default_rng(0))
        assert len(set(choice.indices.tolist())) == 12

    def test_says_why_for_each(self, name: str, pool: Pool) -> None:
        choice = STRATEGIES[name](pool, 7, np.random.default_rng(0))
        reasons = STRATEGIES[name].reasons(pool, choice)
        assert len(reasons) == 7
        assert all(len(r) > 10 and "nan" not in r and "\n" not in r for r in reasons)

    def test_refuses_an_empty_pool_and_an_empty_budget(self, name: str, pool: Pool) -> None:
        with pytest.raises(UserError, match="the pool is empty"):
            STRATEGIES[name](pool.take(np.zeros(0, dtype=np.int64)), 5, np.random.default_rng(0))
        with pytest.raises(UserError, match="budget is 0"):
            STRATEGIES[name](pool, 0, np.random.default_rng(0))

    def test_missing_numbers_come_last(self, name: str, make_pool: MakePool, random_logits: np.ndarray) -> None:
        blank = [3, 17, 30]
        logits, embeddings = random_logits.copy(), np.random.default_rng(0).normal(size=(40, 6))
        misattention = np.random.default_rng(1).random(40)
        logits[blank], embeddings[blank], misattention[blank] = np.nan, np.nan, np.nan
        pool = make_pool(logits, ["wren"] * 40, misattention=misattention, embeddings=embeddings)
        choice = STRATEGIES[name](pool, 40, np.random.default_rng(0))
        assert sorted(choice.indices.tolist()) == list(range(40))
        reasons = STRATEGIES[name].reasons(pool, choice)
        if name != "random":
            assert sorted(choice.indices[-3:].tolist()) == blank
            assert np.isnan(choice.scores[-3:]).all()
            assert any("3" in note and "last" in note for note in choice.notes)
            assert all(reason.startswith("no score") for reason in reasons[-3:])
            assert not any("nan" in reason or "no score" in reason for reason in reasons[:-3])


def test_misattention_of_a_model_without_attention_is_refused(make_pool: MakePool, random_logits: np.ndarray) -> None:
    for scores in ({}, {"misattention": [None] * 40}):
        with pytest.raises(UserError, match="attention: none"):
            find_strategy("misattention")(
                make_pool(random_logits, ["wren"] * 40, **scores), 5, np.random.default_rng(0)
            )


def test_suspect_label_needs_known_labels(make_pool: MakePool, random_logits: np.ndarray) -> None:
    for labels in ([None] * 40, ["no such bird"] * 40):
        with pytest.raises(UserError, match="no record of the pool has a label that the model knows"):
            find_strategy("suspect_label")(make_pool(random_logits, labels), 5, np.random.default_rng(0))


def test_an_unknown_strategy_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'entropy'"):
        find_strategy("enthropy")
    with pytest.raises(UserError, match="Known: auto, suspect_label"):
        find_strategy("")
    assert find_strategy("K-Center").name == "k_center"
