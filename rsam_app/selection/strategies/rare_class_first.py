"""Strategy by rarity: records that probably belong to a class with few labels."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Strategy, by_score
from rsam_app.system.errors import UserError


def rarity(pool: Pool) -> np.ndarray:
    """Return the expected rarity Σ p_c / (1 + n_c) of each record, n_c the number of labels of class c: `(N,)` in
    (0, 1].

    1: certainly of a class without a label. The n_c are `Pool.label_counts`, by default those of the pool's own labels.
    NaN without probabilities. Raises `UserError` if the predictions have no classes.
    """
    if not pool.probabilities.shape[1]:
        raise UserError("select rare_class_first: there is no model yet. Start with herding, typiclust or k_center.")
    counts = pool.label_counts
    if counts is None:
        known = pool.label_indices[pool.label_indices >= 0]
        counts = np.bincount(known, minlength=pool.probabilities.shape[1])
    expected: np.ndarray = pool.probabilities.astype(np.float64) @ (1.0 / (1.0 + counts))
    return expected


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    return [
        f"probably of a class with few labels: about {1 / s - 1:.1f}; best guess {pool.prediction(i)}"
        for i, s in zip(indices, scores, strict=True)
    ]


RARE_CLASS_FIRST = Strategy(
    name="rare_class_first",
    summary="records probably of classes with few labels; for unbalanced classes when the rare ones matter",
    source="ours; after inverse-frequency weighting, e.g. Aggarwal et al., WACV 2020",
    pick=by_score(rarity),
    explain=_explain,
)
