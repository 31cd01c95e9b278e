"""Label quality and suggested labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsam_app.selection import label_quality, suggested_labels


def test_quality_is_the_probability_of_the_given_label() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.0, 1.0, 0.0]], dtype=np.float32)
    quality = label_quality(probabilities, np.array([0, 1, 0]))
    assert quality == pytest.approx([0.7, 0.1, 0.0])
    assert quality.dtype == np.float32


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
    assert quality[:2] == pytest.approx([0.3, 0.05])
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
def test_what_are_no_probabilities_or_labels_is_refused(
    probabilities: np.ndarray, labels: np.ndarray, says: str
) -> None:
    for function in (label_quality, suggested_labels):
        with pytest.raises(ValueError, match=says):
            function(probabilities, labels)


def test_planted_errors_rank_first() -> None:
    """A model that is right where labels are right: the mean rank of 30 flipped labels among 300 is far in front."""
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
