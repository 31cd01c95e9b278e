"""Strategies by the uncertainty of the predicted probabilities: margin, entropy and least confidence."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Strategy, by_score


def narrowness(pool: Pool) -> np.ndarray:
    """1 - (p₁ - p₂) of each record, `(N,)` in [0, 1]: 0 decided, 1 torn between two classes."""
    return 1.0 - pool.margin.astype(np.float64)


def doubts(pool: Pool, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of the `usable` rows `(U,)` whose `narrowness` is known, and that of all records `(N,)`; without a model
    every record counts alike: all of them, and 1."""
    unsure = narrowness(pool)
    if np.isnan(unsure).all():
        return usable, np.ones(len(pool))
    return usable[~np.isnan(unsure[usable])], unsure


def _explain_margin(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    reasons = []
    for i in indices:
        row = pool.probabilities[i]
        if len(row) < 2 or not np.isfinite(row).all():
            reasons.append(f"lead of the first class over the second is {pool.margin[i]:.2f}")
            continue
        first, second = np.argsort(-row, kind="stable")[:2]
        names = [pool.classes[c] or f"class {c}" for c in (first, second)]
        reasons.append(f"torn between {names[0]} ({row[first]:.0%}) and {names[1]} ({row[second]:.0%})")
    return reasons


MARGIN = Strategy(
    name="margin",
    summary="records torn between two classes; the usual choice for labelling look-alikes once a model exists",
    source="Scheffer, Decomain & Wrobel, Active Hidden Markov Models for Information Extraction, IDA 2001",
    pick=by_score(narrowness),
    explain=_explain_margin,
)


def entropy(pool: Pool) -> np.ndarray:
    """Entropy of the class probabilities, `(N,)` nats: 0 sure, log C no idea at all."""
    return pool.entropy.astype(np.float64)


def _explain_entropy(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    guesses = [f"{pool.predicted[i]} ({pool.confidence[i]:.0%})" for i in indices]
    return [f"unsure: entropy {s:.2f} nats, best guess {guess}" for s, guess in zip(scores, guesses, strict=True)]


ENTROPY = Strategy(
    name="entropy",
    summary="records the model is unsure of over many classes; drawn to odd images more than `margin` is",
    source="Settles & Craven, An Analysis of Active Learning Strategies for Sequence Labeling Tasks, EMNLP 2008",
    pick=by_score(entropy),
    explain=_explain_entropy,
)


def doubt(pool: Pool) -> np.ndarray:
    """1 - the probability of the predicted class, `(N,)` in [0, 1): 0 sure of it."""
    return 1.0 - pool.confidence.astype(np.float64)


def _explain_doubt(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    return [f"the best guess, {pool.predicted[i]}, gets {pool.confidence[i]:.0%} only" for i in indices]


LEAST_CONFIDENCE = Strategy(
    name="least_confidence",
    summary="records whose best guess is poor; asks less than `entropy` about odd images, more than `margin`",
    source="Lewis & Gale, A Sequential Algorithm for Training Text Classifiers, SIGIR 1994 (arXiv cmp-lg/9407020)",
    pick=by_score(doubt),
    explain=_explain_doubt,
)
