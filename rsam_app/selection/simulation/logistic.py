"""Multinomial logistic regression that is fast with few labels: the classifier of simulated rounds."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

SCALE = 10.0
"""Length of the feature vectors."""
CURVATURE = 0.005
"""Curvature of the cross-entropy near the fit, per label: .002 to .01 need the fewest steps."""
_NEGLIGIBLE = 1e-12


def scaled(features: np.ndarray) -> np.ndarray:
    """Scale `features` `(N, D)` to length `SCALE`, float64. Raises `ValueError` for a zero or non-finite vector."""
    points = features.astype(np.float64)
    lengths: np.ndarray = np.linalg.norm(points, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError("features must be finite, and none of length 0")
    return np.asarray(SCALE * points / lengths)


def fit(points: np.ndarray, labels: np.ndarray, classes: int, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return weights `(D, C)` and biases `(C,)` that minimise strength · Σ cross-entropy + ½ ‖weights‖², by L-BFGS.

    `points` `(N, D)`, `labels` `(N,)` in 0 … C - 1. Equals scikit-learn's `LogisticRegression(C=strength)`, but also
    accepts classes without a label. Solved along the principal axes of the points, which contain the optimum (N of them
    if N < D), each scaled by its extent as a preconditioner: a third of the time.
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


def _principal_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return orthonormal axes `(D, R)` that span the points `(N, D)`, the coordinates `(N, R)` along them, and each
    axis's sum of squares `(R,)`."""
    if len(points) < points.shape[1]:
        squares, vectors = eigh(points @ points.T)
        significant = squares > _NEGLIGIBLE * squares[-1]
        squares, vectors = squares[significant], vectors[:, significant]
        lengths = np.sqrt(squares)
        return points.T @ (vectors / lengths), vectors * lengths, squares
    squares, axes = eigh(points.T @ points)
    return axes, points @ axes, np.maximum(squares, 0)


def out_of_fold(
    points: np.ndarray, labels: np.ndarray, classes: int, strength: float, seed: int, folds: int = 5
) -> np.ndarray:
    """Return probabilities `(N, C)` of each row by a classifier that did not see its label. Folds are stratified."""
    probabilities = np.empty((len(points), classes))
    shuffled = np.random.default_rng(seed).permutation(len(points))
    fold = np.empty(len(points), dtype=np.int64)
    fold[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(points)) % folds
    for number in range(folds):
        held = fold == number
        if held.any():
            weights, biases = fit(points[~held], labels[~held], classes, strength)
            probabilities[held] = softmax(points[held] @ weights + biases, axis=1)
    return probabilities
