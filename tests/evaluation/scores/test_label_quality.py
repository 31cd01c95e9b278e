"""Label quality and suggested labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsam_app.selection import label_quality, suggested_labels


def test_quality_weighs_the_given_label_against_the_best_other() -> None:
    probabilities = np.array([[0.6, 0.2, 0.2], [0.1, 0.1, 0.8], [0.0, 1.0, 0.0], [0.4, 0.4, 0.2]], dtype=np.float32)
    quality = label_quality(probabilities, np.array([0, 1, 0, 1]))
    assert quality == pytest.approx([0.75, 1 / 9, 0.0, 0.5])
    assert quality.dtype == np.float32
    assert label_quality(np.ones((2, 1)), np.zeros(2, dtype=np.int64)).tolist() == [1.0, 1.0]


def test_an_image_that_is_merely_hard_is_less_suspect_than_one_that_another_class_explains() -> None:
    hard, wrong = np.full(10, 0.1), np.array([0.15, 0.85, *[0.0] * 8])
    quality = label_quality(np.stack([hard, wrong]), np.array([0, 0]))
    assert quality[0] == pytest.approx(0.5) and quality[1] == pytest.approx(0.15)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 20), c=st.integers(1, 5), seed=st.integers(0, 1000))
def test_any_valid_input_gives_one_number_in_the_unit_interval(n: int, c: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(c, 0.05), size=n).reshape(n, c)
    labels = rng.integers(-1, c, n)
    quality = label_quality(probabilities, labels)
    assert quality.shape == (n,)
    assert (np.isnan(quality) == (labels == -1)).all()
    assert ((quality >= 0) & (quality <= 1))[labels >= 0].all()


def test_absent_classes_a_single_class_and_missing_rows_are_fine() -> None:
    probabilities = np.array([[0.5, 0.2, 0.3], [0.9, 0.05, 0.05], [np.nan] * 3])
    quality = label_quality(probabilities, np.array([2, 2, 2]))
    assert quality[:2] == pytest.approx([0.375, 1 / 19])
    assert np.isnan(quality[2])
    suggested, chance = suggested_labels(probabilities, np.array([2, 0, 2]))
    assert suggested.tolist() == [0, 0, -1]
    assert chance[:2] == pytest.approx([0.5, 0.9]) and np.isnan(chance[2])


@pytest.mark.parametrize(
    ("probabilities", "labels", "says"),
    [
        (np.array([[2.0, -1.0]]), np.array([0]), "logits"),
        (np.array([[0.2, 0.2]]), np.array([0]), "sum to 1"),
        (np.array([[0.5, 0.5]]), np.array([2]), "labels span"),
        (np.array([[0.5, 0.5]]), np.array([0, 1]), "do not fit"),
        (np.array([[0.5, 0.5]]), np.array([0.0]), "column indices"),
    ],
)
def test_invalid_probabilities_or_labels_are_rejected(probabilities: np.ndarray, labels: np.ndarray, says: str) -> None:
    for function in (label_quality, suggested_labels):
        with pytest.raises(ValueError, match=says):
            function(probabilities, labels)


def test_planted_errors_rank_first() -> None:
    """With a model that knows the true labels, 30 flipped labels among 300 rank first."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 300)
    logits = rng.normal(size=(300, 5))
    logits[np.arange(300), truth] += 3
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given_labels = truth.copy()
    given_labels[:30] = (truth[:30] + rng.integers(1, 5, 30)) % 5
    order = np.argsort(label_quality(probabilities, given_labels), kind="stable")
    assert (order[:30] < 30).mean() > 0.8
    suggested, _ = suggested_labels(probabilities, given_labels)
    assert (suggested[:30] == truth[:30]).mean() > 0.8
