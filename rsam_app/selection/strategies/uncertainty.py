"""Strategies by the uncertainty of the predicted probabilities: margin, entropy and least confidence."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Strategy, by_score


def narrowness(pool: Pool) -> np.ndarray:
    """Return 1 - (p₁ - p₂) of each record, `(N,)` in [0, 1]: 0 decided, 1 torn between two classes."""
    return 1.0 - pool.margin.astype(np.float64)


def usable_narrowness(pool: Pool, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of `usable` `(U,)` with a margin, and the `narrowness` `(N,)` of all records; without a model,
    `usable` and ones."""
    narrow = narrowness(pool)
    if np.isnan(narrow).all():
        return usable, np.ones(len(pool))
    return usable[~np.isnan(narrow[usable])], narrow


def entropy(pool: Pool) -> np.ndarray:
    """Return the entropy of the class probabilities, `(N,)` nats: 0 certain, log C all classes equally likely."""
    return pool.entropy.astype(np.float64)


def least_confidence(pool: Pool) -> np.ndarray:
    """Return 1 - the probability of the predicted class, `(N,)` in [0, 1): 0 certain."""
    return 1.0 - pool.confidence.astype(np.float64)


def _explain_margin(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    reasons = []
    for i in indices:
        row = pool.probabilities[i]
        if len(row) < 2 or not np.isfinite(row).all():
            reasons.append(f"lead of the first class over the second is {pool.margin[i]:.2f}")
            continue
        torn = [f"{pool.class_name(int(c))} ({row[c]:.0%})" for c in np.argsort(-row, kind="stable")[:2]]
        reasons.append(f"torn between {' and '.join(torn)}")
    return reasons


def _explain_entropy(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    pairs = zip(indices, scores, strict=True)
    return [f"unsure: entropy {score:.2f} nats, best guess {pool.prediction(i)}" for i, score in pairs]


def _explain_least_confidence(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    return [f"the best guess, {pool.predicted[i]}, has only {pool.confidence[i]:.0%}" for i in indices]


MARGIN = Strategy(
    name="margin",
    summary="records torn between two classes; the usual choice for labelling look-alikes once a model exists",
    source="Scheffer, Decomain & Wrobel, Active Hidden Markov Models for Information Extraction, IDA 2001",
    pick=by_score(narrowness),
    explain=_explain_margin,
)
ENTROPY = Strategy(
    name="entropy",
    summary="records the model is unsure of over many classes; favours odd images more than `margin` does",
    source="Settles & Craven, An Analysis of Active Learning Strategies for Sequence Labeling Tasks, EMNLP 2008",
    pick=by_score(entropy),
    explain=_explain_entropy,
)
LEAST_CONFIDENCE = Strategy(
    name="least_confidence",
    summary="records whose best guess is poor; favours odd images less than `entropy`, more than `margin`",
    source="Lewis & Gale, A Sequential Algorithm for Training Text Classifiers, SIGIR 1994 (arXiv cmp-lg/9407020)",
    pick=by_score(least_confidence),
    explain=_explain_least_confidence,
)
