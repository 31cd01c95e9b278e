"""Records whose best guess is a poor one: the smallest probability of the predicted class."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Strategy, by_score


def doubt(pool: Pool) -> np.ndarray:
    """1 - the probability of the predicted class, `(N,)` in [0, 1): 0 sure of it."""
    return 1.0 - pool.confidence.astype(np.float64)


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    return [f"the best guess, {pool.predicted[i]}, gets {pool.confidence[i]:.0%} only" for i in indices]


LEAST_CONFIDENCE = Strategy(
    name="least_confidence",
    summary="records whose best guess is poor; asks less than `entropy` about odd images, more than `margin`",
    source="Lewis & Gale, A Sequential Algorithm for Training Text Classifiers, SIGIR 1994 (arXiv cmp-lg/9407020)",
    pick=by_score(doubt),
    explain=_explain,
)
