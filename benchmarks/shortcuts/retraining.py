"""Last-layer retraining on frozen embeddings against a shortcut, with group labels (DFR) and without any (AFR, JTT)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rsam_app.training.warm_start import logistic_regression

DECAY, REPEATS, STRENGTH, FOLDS, UPWEIGHT = 1e-3, 10, 4.0, 5, 20.0

Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Training embeddings `(N, D)` and test embeddings `(M, D)` to test logits `(M, C)`."""


def dfr(labels: np.ndarray, unusual: np.ndarray, number: int, classes: int, seed: int) -> Fit:
    """Mean of `REPEATS` last layers, each fitted to as many unusual as usual images, among the images whose group a
    reviewer named: `number` drawn so that each group gets half of them, as far as there are any."""
    draws = np.random.default_rng((seed, 80))
    groups = [draws.permutation(np.flatnonzero(unusual == one))[: number // 2] for one in (False, True)]
    smallest = min(map(len, groups))

    def fit(training: np.ndarray, test: np.ndarray) -> np.ndarray:
        logits = []
        for _ in range(REPEATS):
            rows = np.concatenate([draws.permutation(group)[:smallest] for group in groups])
            logits.append(_logits(training[rows], labels[rows], test, training, classes))
        return np.asarray(np.mean(logits, axis=0))

    return fit


def afr(labels: np.ndarray, classes: int, seed: int) -> Fit:
    """A last layer fitted to one half of the images, then one to the other half with weights that fall with the first
    one's probability of the label."""
    first, second = np.array_split(np.random.default_rng((seed, 81)).permutation(len(labels)), 2)

    def fit(training: np.ndarray, test: np.ndarray) -> np.ndarray:
        logits = _logits(training[first], labels[first], training[second], training, classes)
        probability = torch.softmax(torch.from_numpy(logits), dim=1)[torch.arange(len(second)), labels[second]]
        weights = torch.exp(-STRENGTH * probability)
        return _logits(training[second], labels[second], test, training, classes, weights / weights.mean())

    return fit


def jtt(labels: np.ndarray, classes: int, seed: int) -> Fit:
    """A last layer fitted with `UPWEIGHT` times the weight for each image that another one, fitted without its fold of
    the images, gets wrong: fitted with them, a last layer gets every training image right."""
    folds = np.array_split(np.random.default_rng((seed, 82)).permutation(len(labels)), FOLDS)

    def fit(training: np.ndarray, test: np.ndarray) -> np.ndarray:
        weights = np.ones(len(labels), dtype=np.float32)
        for fold in folds:
            rest = np.setdiff1d(np.arange(len(labels)), fold)
            logits = _logits(training[rest], labels[rest], training[fold], training, classes)
            weights[fold[logits.argmax(axis=1) != labels[fold]]] = UPWEIGHT
        return _logits(training, labels, test, training, classes, torch.from_numpy(weights / weights.mean()))

    return fit


def _logits(
    given: np.ndarray, labels: np.ndarray, wanted: np.ndarray, all_given: np.ndarray, classes: int,
    weights: Tensor | None = None,
) -> np.ndarray:  # fmt: skip
    mean, spread = all_given.mean(axis=0), all_given.std(axis=0) + 1e-6
    inputs, outputs = (torch.from_numpy((one - mean) / spread).float() for one in (given, wanted))
    weight, bias, _ = logistic_regression(inputs, torch.from_numpy(labels), classes, DECAY, weights)
    logits: np.ndarray = (outputs @ weight.T + bias).numpy()
    return logits
