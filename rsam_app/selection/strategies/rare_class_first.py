"""Records that are probably of a class with few labels."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Strategy, by_score
from rsam_app.system.errors import UserError


def rarity(pool: Pool) -> np.ndarray:
    """Expected rarity Σ p_c / (1 + n_c) of each record, n_c the labels that class c has already: `(N,)` in (0, 1].

    1: surely of a class without a label. `Pool.label_counts`, where given, are the n_c; else the pool's own labels.
    NaN without probabilities. Raises `UserError` where the predictions are of no class.
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
        f"probably of a class with few labels: like {1 / s - 1:.1f} of them; best guess {pool.predicted[i]}"
        f" ({pool.confidence[i]:.0%})"
        for i, s in zip(indices, scores, strict=True)
    ]


RARE_CLASS_FIRST = Strategy(
    name="rare_class_first",
    summary="records probably of classes with few labels; where classes are unbalanced and the rare ones matter",
    source="ours; after inverse-frequency weighting, e.g. Aggarwal et al., WACV 2020",
    pick=by_score(rarity),
    explain=_explain,
)
