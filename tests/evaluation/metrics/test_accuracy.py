"""Accuracy against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    precision_score,
    recall_score,
    top_k_accuracy_score,
)

from rsam_app.evaluation.metrics import accuracy


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 7, 500)
    labels[labels == 4] = 0  # one class has no images
    logits = generator.normal(size=(500, 7))
    logits[np.arange(500), labels] += 1
    return logits, labels


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_agrees_with_scikit_learn(predictions: tuple[np.ndarray, np.ndarray], k: int) -> None:
    logits, labels = predictions
    expected = top_k_accuracy_score(labels, logits, k=k, labels=np.arange(7))
    assert accuracy.top_k_accuracy(logits, labels, k) == pytest.approx(expected)


def test_top_5_of_two_classes_is_one() -> None:
    assert accuracy.top_k_accuracy(np.array([[3.0, 0.0], [3.0, 0.0]]), np.array([1, 0]), k=5) == 1


def test_equal_logits_rank_like_argmax() -> None:
    logits, labels = np.zeros((3, 3)), np.array([0, 1, 2])
    assert accuracy.top_k_accuracy(logits, labels, 1) == np.mean(logits.argmax(axis=1) == labels)
    assert accuracy.label_ranks(logits, labels).tolist() == [0, 1, 2]


def test_macro_recall_ignores_a_class_without_images(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = predictions
    predicted = logits.argmax(axis=1)
    keep = np.isin(predicted, labels)  # scikit-learn warns about predictions without a label
    expected = balanced_accuracy_score(labels[keep], predicted[keep])
    found = accuracy.macro_recall(accuracy.confusion_matrix(predicted[keep], labels[keep], 7))
    assert found == pytest.approx(expected)


def test_table_per_class_agrees_with_scikit_learn(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = predictions
    predicted = logits.argmax(axis=1)
    confusion = accuracy.confusion_matrix(predicted, labels, 7)
    n, recall, precision = accuracy.per_class(confusion)
    names = np.arange(7)
    assert np.array_equal(confusion, confusion_matrix(labels, predicted, labels=names))
    assert n.sum() == 500
    assert n[4] == 0
    unknown = np.nan
    np.testing.assert_allclose(
        recall, recall_score(labels, predicted, labels=names, average=None, zero_division=unknown)
    )
    np.testing.assert_allclose(
        precision, precision_score(labels, predicted, labels=names, average=None, zero_division=unknown)
    )


def test_confusion_pairs_are_mistakes_most_frequent_first() -> None:
    confusion = np.array([[9, 2, 0], [5, 1, 2], [0, 0, 7]])
    assert accuracy.confusion_pairs(confusion) == [(1, 0, 5), (0, 1, 2), (1, 2, 2)]
    assert accuracy.confusion_pairs(confusion, limit=1) == [(1, 0, 5)]


def test_wilson_interval_has_its_nominal_coverage() -> None:
    draws = np.random.default_rng(0).binomial(40, 0.9, 4000)
    intervals = np.array([accuracy.wilson_interval(int(d), 40) for d in draws])
    covered = ((intervals[:, 0] <= 0.9) & (intervals[:, 1] >= 0.9)).mean()
    assert 0.92 < covered < 0.98
    assert accuracy.wilson_interval(0, 10)[0] == 0
    assert accuracy.wilson_interval(10, 10)[1] == pytest.approx(1)
