"""Multinomial logistic regression, quick with few labels: the classifier that simulated rounds are measured by."""

from __future__ import annotations

import numpy as np
from scipy.linalg import qr
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

SCALE = 10.0
"""Length of the feature vectors that it is fitted to."""


def scaled(features: np.ndarray) -> np.ndarray:
    """`(N, D)` float64 of length `SCALE`. Raises `ValueError` where a vector has no length or is not finite."""
    points = features.astype(np.float64)
    lengths: np.ndarray = np.linalg.norm(points, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("features must be finite, and none of length 0")
    return SCALE * points / lengths


def fit(points: np.ndarray, labels: np.ndarray, classes: int, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Weights `(D, C)` and biases `(C,)` that minimise strength · Σ cross-entropy + ½ ‖weights‖², by L-BFGS.

    `points` `(N, D)`, `labels` `(N,)` in 0 … C - 1; as scikit-learn's `LogisticRegression(C=strength)`, but for classes
    without a label too. With N < D it is solved in the N dimensions that the points span, where the optimum lies.
    """
    count, width = points.shape
    basis = None
    if count < width:
        basis, triangle = qr(points.T, mode="economic")
        points = triangle.T
    dimensions = points.shape[1]
    rows = np.arange(count)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, biases = flat[: dimensions * classes].reshape(dimensions, classes), flat[dimensions * classes :]
        logs = log_softmax(points @ weights + biases, axis=1)
        residuals = np.exp(logs)
        residuals[rows, labels] -= 1
        loss = -strength * logs[rows, labels].sum() + 0.5 * (weights**2).sum()
        gradient = strength * (points.T @ residuals) + weights
        return float(loss), np.concatenate([gradient.ravel(), strength * residuals.sum(axis=0)])

    start = np.zeros(dimensions * classes + classes)
    options = {"maxiter": 300, "gtol": 1e-3, "maxcor": 20}
    flat = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    weights = flat[: dimensions * classes].reshape(dimensions, classes)
    return (weights if basis is None else basis @ weights), flat[dimensions * classes :]


def out_of_fold(
    points: np.ndarray, labels: np.ndarray, classes: int, strength: float, seed: int, folds: int = 5
) -> np.ndarray:
    """Probabilities `(N, C)` of each row by a classifier that did not see its label; folds are stratified, by seed."""
    found = np.empty((len(points), classes))
    shuffled = np.random.default_rng(seed).permutation(len(points))
    fold = np.empty(len(points), dtype=np.int64)
    fold[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(points)) % folds
    for number in range(folds):
        held = fold == number
        if held.any():
            weights, biases = fit(points[~held], labels[~held], classes, strength)
            found[held] = softmax(points[held] @ weights + biases, axis=1)
    return found
