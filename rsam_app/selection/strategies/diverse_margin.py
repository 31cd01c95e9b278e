"""Diverse uncertain records: one from each cluster of a shortlist by margin."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.embeddings import finite_rows
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategies.uncertainty import MARGIN, narrowness
from rsam_app.selection.strategy import Choice, Strategy, missing_last, rank

SHORTLIST = 4
"""Length of the shortlist, in budgets."""


def nearest_to_centres(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return for each of `centres` `(K, D)` in turn the nearest unused row of `points` `(N, D)`, N ≥ K: `(K,)`."""
    squared = np.einsum("nd,nd->n", points, points)[:, None] - 2 * (points @ centres.T)
    taken = np.empty(len(centres), dtype=np.int64)
    for column in range(len(centres)):
        taken[column] = squared[:, column].argmin()
        squared[taken[column]] = np.inf
    return taken


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    from sklearn.cluster import KMeans

    embeddings, narrow = pool.require_embeddings(), narrowness(pool)
    usable = np.intersect1d(finite_rows(embeddings), np.flatnonzero(~np.isnan(narrow)))
    shortlist = usable[rank(narrow[usable], SHORTLIST * budget, rng).indices]
    points = embeddings[shortlist].astype(np.float32)
    if len(shortlist) > budget:
        count = min(budget, len(np.unique(points, axis=0)))
        fitted = KMeans(count, n_init=1, random_state=int(rng.integers(2**31))).fit(points)
        near = nearest_to_centres(points, fitted.cluster_centers_)
        rest = np.setdiff1d(np.arange(len(shortlist)), near)[: budget - len(near)]
        shortlist = shortlist[np.concatenate([near, rest])]  # the rest: duplicates, narrowest first
    shortlist = shortlist[np.argsort(-narrow[shortlist], kind="stable")]
    return missing_last(shortlist, narrow[shortlist], usable, pool, budget, rng)


DIVERSE_MARGIN = Strategy(
    name="diverse_margin",
    summary="records torn between two classes and unlike each other; for large batches once the model is good",
    source="Zhdanov, Diverse Mini-Batch Active Learning, 2019 (arXiv 1901.05954), unweighted",
    pick=_pick,
    explain=MARGIN.explain,
    needs_embeddings=True,
)
