"""Strategies on arrays choose what they choose on a run, and say what they lack."""

from __future__ import annotations

import numpy as np
import pytest

import rsam_app


def probabilities(count: int = 40, classes: int = 3) -> np.ndarray:
    drawn = np.random.default_rng(0).dirichlet(np.ones(classes), count)
    return np.asarray(drawn)


def test_margin_chooses_the_smallest_margins_first() -> None:
    shares = probabilities()
    ranked = np.sort(shares, axis=1)
    expected = np.argsort(ranked[:, -1] - ranked[:, -2])[:5]
    assert rsam_app.choose("margin", 5, probabilities=shares).tolist() == expected.tolist()


def test_k_center_keeps_away_from_what_is_covered() -> None:
    embeddings = np.array([[1.0, 0], [0.99, 0.1], [0, 1], [-1, 0]])
    chosen = rsam_app.choose("k_center", 2, embeddings=embeddings, covered=np.array([[1.0, 0]]))
    assert set(chosen.tolist()) == {2, 3}


@pytest.mark.parametrize("strategy", sorted(rsam_app.strategies()))
def test_every_strategy_takes_arrays(strategy: str) -> None:
    generator = np.random.default_rng(1)
    chosen = rsam_app.choose(
        strategy,
        8,
        embeddings=generator.normal(size=(40, 6)),
        probabilities=probabilities(),
        labels=generator.integers(0, 3, 40),
        misattention=generator.random(40),
    )
    assert len(set(chosen.tolist())) == 8


def test_missing_and_unequal_arrays_are_named() -> None:
    with pytest.raises(rsam_app.UserError, match="needs probabilities"):
        rsam_app.choose("margin", 3, embeddings=np.zeros((5, 2)))
    with pytest.raises(rsam_app.UserError, match="needs embeddings"):
        rsam_app.choose("k_center", 3, probabilities=probabilities())
    with pytest.raises(rsam_app.UserError, match="embeddings 5, probabilities 40"):
        rsam_app.choose("badge", 3, embeddings=np.zeros((5, 2)), probabilities=probabilities())
    with pytest.raises(rsam_app.UserError, match="Did you mean 'margin'"):
        rsam_app.choose("margn", 3, probabilities=probabilities())
