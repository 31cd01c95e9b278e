"""The most typical record of each cluster that has no label yet: the largest such clusters first."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.embeddings import finite_rows, sample_rows
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Choice, Strategy, missing_last

NEIGHBOURS = 20
SMALLEST = 5
"""Clusters of fewer records are left for last: they are mostly outliers."""

MOST_CLUSTERS = 500
"""As in the authors' experiments: more of them are slow to find and hold too few records each."""

MOST = 100_000
"""Records that are clustered, and as many that have a label. Larger pools are sampled by seed: of typical records there
are many."""


def typicality(points: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """1 / mean distance to the nearest `neighbours` others (fewer where there are fewer) of `points` `(N, D)`: `(N,)`.

    Infinite for a record alone, and where all of its neighbours are duplicates of it.
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


_ROWS = 1024


def typical_of_clusters(clusters: np.ndarray, typical: np.ndarray, labelled: np.ndarray, budget: int) -> np.ndarray:
    """`min(budget, unlabelled)` unlabelled rows: round by round the most typical left in each cluster, those clusters
    first that hold the fewest labels, then the largest (Hacohen et al., ICML 2022, arXiv 2202.02794, algorithm 1).

    `clusters` `(N,)` are non-negative numbers, `labelled` `(N,)` bool.
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
            place = begins[cluster] + depth
            if place < begins[cluster + 1] and len(chosen) < budget:
                chosen.append(int(ranked[place]))
        depth += 1
    return np.array(chosen, dtype=np.int64)


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    if pool.embeddings is None:
        raise ValueError("typiclust needs a pool with embeddings")
    usable = finite_rows(pool.embeddings)
    shown = sample_rows(usable, max(MOST, budget), rng)
    points = pool.embeddings[shown].astype(np.float32)
    known = 0
    if pool.covered is not None and len(pool.covered):
        covered = pool.covered[sample_rows(finite_rows(pool.covered), MOST, rng)].astype(np.float32)
        points, known = np.concatenate([points, covered]), len(covered)
    if not len(usable):
        return missing_last(usable, np.zeros(0), usable, pool, budget, rng)
    labelled = np.arange(len(points)) >= len(shown)
    clusters = _k_means(points, min(known + budget, MOST_CLUSTERS, len(points)), rng)
    typical = np.empty(len(points))
    for cluster in range(int(clusters.max()) + 1):
        members = np.flatnonzero(clusters == cluster)
        typical[members] = typicality(points[members])
    chosen = typical_of_clusters(clusters, typical, labelled, budget)
    return missing_last(shown[chosen], typical[chosen], usable, pool, budget, rng)


def _k_means(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    distinct = min(count, len(np.unique(points, axis=0)))
    kind = KMeans if len(points) <= _LARGE else MiniBatchKMeans  # the paper's switch, for the same reason: time
    fitted: np.ndarray = kind(distinct, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(points)
    return fitted.astype(np.int64)


_LARGE = 50_000


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
