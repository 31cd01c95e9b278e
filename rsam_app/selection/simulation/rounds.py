"""Simulated rounds of labelling: choose, label by the oracle, train, measure, repeat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax

from rsam_app.selection.pool import Pool, pool_of_images
from rsam_app.selection.simulation.logistic import fit
from rsam_app.selection.simulation.suggested import suggested_right
from rsam_app.selection.strategy import Strategy


@dataclass(frozen=True)
class Oracle:
    """A pool to label, the oracle's labels for it, and the test set of the classifier."""

    points: np.ndarray
    """`(N, D)` scaled features of the pool."""
    labels: np.ndarray
    """`(N,)` int64 class numbers; strategies see only those that they chose."""
    test_points: np.ndarray
    test_labels: np.ndarray
    classes: int

    def accuracy(self, rows: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the test accuracy of the classifier trained on these rows, and its logits `(N, C)` for the pool."""
        weights, biases = fit(self.points[rows], self.labels[rows], self.classes)
        right = (self.test_points @ weights + biases).argmax(axis=1) == self.test_labels
        return float(right.mean()), self.points @ weights + biases

    def part(self, share: float, seed: int) -> Oracle:
        """Return the oracle of a random `share` of the pool, by seed; 1 for all of it."""
        count = max(1, round(share * len(self.points)))
        rows = np.sort(np.random.default_rng((seed, 1)).permutation(len(self.points))[:count])
        return Oracle(self.points[rows], self.labels[rows], self.test_points, self.test_labels, self.classes)


class Simulated(NamedTuple):
    """Rounds of labelling."""

    accuracy: list[float]
    """Test accuracy after each round."""
    order: np.ndarray
    """`(L,)` rows of the pool in the order in which they were labelled."""
    suggested: list[float]
    """After each round, the share of all labels so far for which `rsam label` had suggested the right one."""


def simulate(oracle: Oracle, strategy: Strategy, rounds: int, start: int, budget: int, seed: int) -> Simulated:
    """Label `start` images and, in each of `rounds` rounds, `budget` more: `rounds + 1` figures, or fewer if the pool
    runs out.

    Before the first labels there is no model; strategies that need one choose at random then.
    """
    rng = np.random.default_rng(seed)
    known = np.zeros(0, dtype=np.int64)
    logits = np.full((len(oracle.points), oracle.classes), np.nan)
    curve, counts = [], []
    for step in range(rounds + 1):
        left = np.setdiff1d(np.arange(len(oracle.points)), known)
        if not len(left):
            break
        pool = unlabelled(oracle, logits, left, known)
        chosen = left[strategy(pool, start if step == 0 else budget, rng).indices]
        known = np.concatenate([known, chosen])
        accuracy, logits = oracle.accuracy(known)
        curve.append(accuracy)
        counts.append(len(known))
    right = suggested_right(oracle.points, oracle.labels, known)
    return Simulated(curve, known, [float(right[:count].mean()) for count in counts])


def unlabelled(oracle: Oracle, logits: np.ndarray, left: np.ndarray, known: np.ndarray) -> Pool:
    """Return the pool of the rows `left` as a strategy sees it: without labels, with `logits` `(N, C)` of the current
    model (NaN before there is one), the rows `known` covered and their labels counted."""
    names = tuple(f"class {c}" for c in range(oracle.classes))
    logits = logits[left]
    logs = log_softmax(logits, axis=1)
    ranked = np.sort(np.exp(logs), axis=1)
    predicted = np.where(np.isnan(logits).any(axis=1), 0, np.nan_to_num(logits).argmax(axis=1))
    embeddings, covered = oracle.points[left].astype(np.float32), oracle.points[known].astype(np.float32)
    return replace(
        pool_of_images([f"{row:08}" for row in left], [""] * len(left), "", embeddings, covered),
        predicted=tuple(names[c] for c in predicted),
        classes=names,
        logits=logits.astype(np.float32),
        confidence=ranked[:, -1].astype(np.float32),
        margin=(ranked[:, -1] - ranked[:, -2]).astype(np.float32),
        entropy=-(np.exp(logs) * logs).sum(axis=1).astype(np.float32),
        label_counts=np.bincount(oracle.labels[known], minlength=oracle.classes),
    )
