"""Macro figures against scikit-learn, and their intervals against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from rsam_app.evaluation.metrics.intervals import bootstrap_interval
from rsam_app.evaluation.metrics.macro import balanced_accuracy, macro_auroc, macro_f1


def drawn(n: int, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a mediocre model, and labels, of which the later classes have fewer."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, n, p=np.arange(classes, 0, -1) / (classes * (classes + 1) / 2))
    logits = generator.normal(size=(n, classes))
    logits[np.arange(n), labels] += 1
    return softmax(logits.round(1), axis=1), labels  # with ties


def test_figures_agree_with_scikit_learn() -> None:
    probabilities, labels = drawn(300, 0)
    predicted = probabilities.argmax(axis=1)
    assert macro_f1(labels, predicted, 4) == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert balanced_accuracy(labels, predicted, 4) == pytest.approx(balanced_accuracy_score(labels, predicted))
    expected = roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert macro_auroc(probabilities, labels)[0] == pytest.approx(expected)


def test_a_class_without_images_counts_only_if_it_is_predicted() -> None:
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    assert macro_f1(labels, predicted, 5) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert balanced_accuracy(labels, predicted, 5) == pytest.approx(0.75)
    probabilities = np.eye(5)[predicted]
    both = [roc_auc_score(labels == c, probabilities[:, c]) for c in (0, 1)]
    assert macro_auroc(probabilities, labels)[0] == pytest.approx(np.mean(both))


def test_images_of_one_class_have_no_auroc() -> None:
    mean, interval = macro_auroc(np.eye(2), np.zeros(2, dtype=int))
    assert all(map(math.isnan, (mean, *interval)))


def test_a_perfect_ranking_and_its_reverse() -> None:
    labels = np.array([0, 1, 2] * 5)
    assert macro_auroc(np.eye(3)[labels], labels) == (1.0, (1.0, 1.0))
    assert macro_auroc(1 - np.eye(3)[labels], labels)[0] == 0


@pytest.mark.parametrize("figure", ["auroc", "f1"])
def test_nineteen_of_twenty_intervals_hold_the_true_value(figure: str) -> None:
    def value(probabilities: np.ndarray, labels: np.ndarray) -> float:
        if figure == "auroc":
            return macro_auroc(probabilities, labels)[0]
        return macro_f1(labels, probabilities.argmax(axis=1), 4)

    truth = value(*drawn(200_000, 99))
    held = 0
    for seed in range(40):
        probabilities, labels = drawn(250, seed)
        predicted = probabilities.argmax(axis=1)
        low, high = (
            macro_auroc(probabilities, labels)[1]
            if figure == "auroc"
            else bootstrap_interval(lambda rows, y=labels, p=predicted: macro_f1(y[rows], p[rows], 4), 250)
        )
        held += low <= truth <= high
    assert 34 <= held <= 40
