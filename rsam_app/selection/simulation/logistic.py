"""Multinomial logistic regression, quick with few labels: the classifier that simulated rounds are measured by."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
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
    without a label too. It is solved along the principal axes of the points, N of them with N < D, where the optimum
    lies; each axis is shrunk by its extent, so that the steps suit all of them: a third of the time.
    """
    axes, coordinates, squares = _principal_axes(points)
    shrink = 1 / np.sqrt(1 + CURVATURE * strength * squares)
    coordinates, penalty = np.ascontiguousarray(coordinates * shrink), shrink**2
    size, rows = len(squares) * classes, np.arange(len(points))

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, biases = flat[:size].reshape(-1, classes), flat[size:]
        logs = log_softmax(coordinates @ weights + biases, axis=1)
        residuals = np.exp(logs)
        residuals[rows, labels] -= 1
        loss = -strength * logs[rows, labels].sum() + 0.5 * (penalty @ weights**2).sum()
        gradient = strength * (coordinates.T @ residuals) + penalty[:, None] * weights
        return float(loss), np.concatenate([gradient.ravel(), strength * residuals.sum(axis=0)])

    options = {"maxiter": 300, "gtol": 1e-3, "maxcor": 10}
    flat = minimize(objective, np.zeros(size + classes), jac=True, method="L-BFGS-B", options=options).x
    return axes @ (flat[:size].reshape(-1, classes) * shrink[:, None]), flat[size:]


CURVATURE = 0.005
"""Of the cross-entropy where it is nearly fitted, a label: .002 to .01 take the fewest steps."""


def _principal_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthonormal axes `(D, R)` that span the points `(N, D)`, their coordinates `(N, R)` along them, and each axis's
    sum of squares `(R,)`."""
    if len(points) < points.shape[1]:
        squares, vectors = eigh(points @ points.T)
        squares, vectors = squares[squares > _NOTHING * squares[-1]], vectors[:, squares > _NOTHING * squares[-1]]
        lengths = np.sqrt(squares)
        return points.T @ (vectors / lengths), vectors * lengths, squares
    squares, axes = eigh(points.T @ points)
    return axes, points @ axes, np.maximum(squares, 0)


_NOTHING = 1e-12


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
