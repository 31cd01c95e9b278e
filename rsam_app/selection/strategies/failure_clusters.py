"""Failure clusters: one image for each group of images in which the model looks at similar things, those with the most
misattention first."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.embeddings import directions, finite_rows, sample_rows
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategies.misattention import misattention
from rsam_app.selection.strategies.typiclust import k_means
from rsam_app.selection.strategy import Choice, Strategy, missing_last

CLUSTERS = 10
MAX_RECORDS = 20_000
"""Maximum number of clustered images: larger pools are sampled by seed."""


def choose_from_clusters(
    clusters: np.ndarray, distances: np.ndarray, weights: np.ndarray, answered: np.ndarray, budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return `min(budget, N)` rows, and for each the weight of its cluster per answer.

    Each pick is the row nearest to the centre, by `distances` `(N,)`, of the cluster with the largest sum of `weights`
    `(N,)` divided by one more than its answers: those of `answered` `(K,)` and the picks before. `clusters` `(N,)` are
    in 0 … K - 1.
    """
    sums = np.bincount(clusters, weights, minlength=len(answered))
    members = [np.flatnonzero(clusters == cluster) for cluster in range(len(answered))]
    left = [rows[np.argsort(distances[rows], kind="stable")].tolist() for rows in members]
    answers, chosen, worths = answered.astype(np.float64), [], []
    for _ in range(min(budget, len(clusters))):
        worth = np.where([bool(rows) for rows in left], sums / (1 + answers), -np.inf)
        best = int(worth.argmax())
        chosen.append(left[best].pop(0))
        worths.append(float(worth[best]))
        answers[best] += 1
    return np.array(chosen, dtype=np.int64), np.array(worths)


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    embeddings, known, wrong = pool.require_embeddings(), pool.covered_embeddings(), misattention(pool)
    usable = np.intersect1d(finite_rows(embeddings), np.flatnonzero(~np.isnan(wrong)))
    if not len(usable):
        return missing_last(usable, np.zeros(0), usable, pool, budget, rng)
    candidates = sample_rows(usable, max(MAX_RECORDS, budget), rng)
    points = directions(embeddings[candidates])
    clusters = k_means(points, min(CLUSTERS, len(points)), rng)
    centres = np.stack([points[clusters == cluster].mean(axis=0) for cluster in range(int(clusters.max()) + 1)])
    distances = np.linalg.norm(points - centres[clusters], axis=1)
    radii = np.array([distances[clusters == cluster].max() for cluster in range(len(centres))])
    answered = _count_near(directions(known[finite_rows(known)]), centres, radii)
    chosen, worths = choose_from_clusters(clusters, distances, wrong[candidates], answered, budget)
    return missing_last(candidates[chosen], worths, usable, pool, budget, rng)


def _count_near(points: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """The number of points nearest to each centre, and not further from it than its own members."""
    squared = np.einsum("kd,kd->k", centres, centres) - 2 * points @ centres.T + 1
    nearest = squared.argmin(axis=1) if len(points) else np.zeros(0, dtype=np.int64)
    inside = np.sqrt(np.maximum(squared[np.arange(len(points)), nearest], 0)) <= radii[nearest]
    return np.bincount(nearest[inside], minlength=len(centres))


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    return [
        f"typical of images in which the model looks at the same kind of thing: {score:.1f} misattention for each"
        f" answer there, {pool.scores['misattention'][i]:.2f} its own"
        for i, score in zip(indices, scores, strict=True)
    ]


FAILURE_CLUSTERS = Strategy(
    name="failure_clusters",
    summary="typical images of groups that look at similar things, most misattention first; for correcting rectangles",
    source="ours",
    pick=_pick,
    explain=_explain,
    needs_embeddings=True,
)
