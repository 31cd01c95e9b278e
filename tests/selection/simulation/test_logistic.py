"""The fast logistic regression against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from rsam_app.selection.simulation.logistic import fit, out_of_fold, scaled


@pytest.mark.parametrize(("count", "width"), [(30, 80), (80, 12)])
def test_equals_scikit_learn(count: int, width: int) -> None:
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(count, width)), np.arange(count) % 4
    weights, biases = fit(points, labels, 4)
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(points, labels)
    probe = rng.normal(size=(50, width))
    ours, theirs = probe @ weights + biases, probe @ reference.coef_.T + reference.intercept_
    ours, theirs = ours - ours.mean(axis=1, keepdims=True), theirs - theirs.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_a_class_without_a_label_is_never_predicted() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(20, 5))
    weights, biases = fit(points, np.arange(20) % 2, 3)
    assert not ((points @ weights + biases).argmax(axis=1) == 2).any()


def test_out_of_fold_has_not_seen_the_label() -> None:
    """Noise labels are at chance out of fold, and memorised otherwise."""
    rng = np.random.default_rng(2)
    points, labels = rng.normal(size=(200, 300)), np.arange(200) % 2
    found = out_of_fold(points, labels, 2, 1.0, seed=0)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert 0.35 < (found.argmax(axis=1) == labels).mean() < 0.65
    weights, biases = fit(points, labels, 2)
    assert ((points @ weights + biases).argmax(axis=1) == labels).all()


def test_features_are_scaled_or_refused() -> None:
    np.testing.assert_allclose(np.linalg.norm(scaled(np.array([[3.0, 4], [0.1, 0]])), axis=1), 10)
    for bad in (0.0, np.nan):
        with pytest.raises(ValueError, match="finite"):
            scaled(np.array([[bad, bad]]))
