"""Records the model has no idea about: the largest entropy over all classes."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Strategy, by_score


def entropy(pool: Pool) -> np.ndarray:
    """Entropy of the class probabilities, `(N,)` nats: 0 sure, log C no idea at all."""
    return pool.entropy.astype(np.float64)


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    guesses = [f"{pool.predicted[i]} ({pool.confidence[i]:.0%})" for i in indices]
    return [f"unsure: entropy {s:.2f} nats, best guess {guess}" for s, guess in zip(scores, guesses, strict=True)]


ENTROPY = Strategy(
    name="entropy",
    summary="records the model is unsure of over many classes; drawn to odd images more than `margin` is",
    source="Settles & Craven, An Analysis of Active Learning Strategies for Sequence Labeling Tasks, EMNLP 2008",
    pick=by_score(entropy),
    explain=_explain,
)
