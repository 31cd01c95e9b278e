"""TypiClust: the most typical record of each cluster without a label, the largest clusters first."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.embeddings import finite_rows, sample_rows
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Choice, Strategy, missing_last

NEIGHBOURS = 20
SMALLEST = 5
"""Smaller clusters come last: they are mostly outliers."""
MAX_CLUSTERS = 500
"""As in the authors' experiments: more clusters are slow to find and too small."""
MAX_RECORDS = 100_000
"""Maximum number of clustered records, and of labelled ones among them. Larger pools are sampled by seed: typical
records are common."""
_ROWS, _LARGE = 1024, 50_000


def typicality(points: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Return 1 / mean distance to the nearest `neighbours` others (or all, if fewer) of `points` `(N, D)`: `(N,)`.

    Infinite for a single record and for one whose neighbours are all its duplicates.
    """
    if len(points) < 2:
        return np.full(len(points), np.inf)
    count, norms = min(neighbours, len(points) - 1), np.einsum("nd,nd->n", points, points)
    mean = np.empty(len(points))
    for begin in range(0, len(points), _ROWS):
        block = slice(begin, begin + _ROWS)
        squared = np.maximum(norms[block, None] + norms - 2 * (points[block] @ points.T), 0)
        rows = np.arange(len(squared))
        squared[rows, begin + rows] = np.inf  # not its own neighbour
        nearest = np.partition(squared, count - 1, axis=1)[:, :count]
        mean[block] = np.sqrt(nearest).mean(axis=1)
    with np.errstate(divide="ignore"):
        result: np.ndarray = 1.0 / mean
    return result


def typical_of_clusters(clusters: np.ndarray, typical: np.ndarray, labelled: np.ndarray, budget: int) -> np.ndarray:
    """Return `min(budget, unlabelled)` unlabelled rows: in each round the most typical one left in each cluster;
    clusters with the fewest labels first, then the largest (Hacohen et al., ICML 2022, arXiv 2202.02794, algorithm 1).

    `clusters` `(N,)` are non-negative integers, `labelled` `(N,)` bool.
    """
    sizes = np.bincount(clusters)
    labels = np.bincount(clusters, weights=labelled, minlength=len(sizes)).astype(np.int64)
    small = (sizes < SMALLEST) & (sizes.max(initial=0) >= SMALLEST)
    order = np.lexsort((-sizes, labels, small))
    free = np.flatnonzero(~labelled)
    ranked = free[np.lexsort((free, -typical[free], clusters[free]))]
    begins = np.searchsorted(clusters[ranked], np.arange(len(sizes) + 1))
    chosen: list[int] = []
    depth = 0
    while len(chosen) < min(budget, len(free)):
        for cluster in order:
            position = begins[cluster] + depth
            if position < begins[cluster + 1] and len(chosen) < budget:
                chosen.append(int(ranked[position]))
        depth += 1
    return np.array(chosen, dtype=np.int64)


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    embeddings, covered = pool.require_embeddings(), pool.covered_embeddings()
    usable = finite_rows(embeddings)
    candidates = sample_rows(usable, max(MAX_RECORDS, budget), rng)
    known = sample_rows(finite_rows(covered), MAX_RECORDS, rng)
    if not len(usable):
        return missing_last(usable, np.zeros(0), usable, pool, budget, rng)
    points = np.concatenate([embeddings[candidates].astype(np.float32), covered[known].astype(np.float32)])
    labelled = np.arange(len(points)) >= len(candidates)
    clusters = k_means(points, min(len(known) + budget, MAX_CLUSTERS, len(points)), rng)
    typical = np.empty(len(points))
    for cluster in range(int(clusters.max()) + 1):
        members = np.flatnonzero(clusters == cluster)
        typical[members] = typicality(points[members])
    chosen = typical_of_clusters(clusters, typical, labelled, budget)
    return missing_last(candidates[chosen], typical[chosen], usable, pool, budget, rng)


def k_means(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Divide `points` `(N, D)` into at most `count` clusters, 0 to K - 1, none of them empty: `(N,)` int64."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    distinct = min(count, len(np.unique(points, axis=0)))
    kind = KMeans if len(points) <= _LARGE else MiniBatchKMeans  # to save time, as in the paper
    fitted: np.ndarray = kind(distinct, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(points)
    return fitted.astype(np.int64)


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    return [f"typical of images that have few labels so far: density {score:.3g} in its cluster" for score in scores]


TYPICLUST = Strategy(
    name="typiclust",
    summary="typical records of clusters without a label; for the first labels, before there is a model",
    source="Hacohen, Dekel & Weinshall, Active Learning on a Budget, ICML 2022 (arXiv 2202.02794)",
    pick=_pick,
    explain=_explain,
    needs_embeddings=True,
)
