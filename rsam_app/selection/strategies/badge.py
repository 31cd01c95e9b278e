"""BADGE: records with large and diverse last-layer gradients, by k-means++ seeding."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.embeddings import finite_rows
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Choice, Strategy, missing_last


def gradient_seeds(
    probabilities: np.ndarray, embeddings: np.ndarray, budget: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Seed k-means++ on the gradients of the last layer (Ash et al., ICLR 2020, arXiv 1906.03671, algorithm 1).

    The gradient of a record is the outer product of p - e_ŷ `(C,)` and its embedding `(D,)`. It is never formed: the
    inner product of two outer products is the product of the inner products, so memory stays at N · (C + D). Returns
    `min(budget, N)` rows, each once, and their squared distances to the nearest gradient chosen before; for the first
    row, the longest gradient, its squared norm. Rows that coincide with chosen ones come last, drawn uniformly.
    """
    points = embeddings.astype(np.float32)
    residuals = probabilities.astype(np.float32)
    residuals[np.arange(len(residuals)), residuals.argmax(axis=1)] -= 1
    norms = np.einsum("nc,nc->n", residuals, residuals) * np.einsum("nd,nd->n", points, points)
    nearest = norms.astype(np.float64)
    free = np.ones(len(points), dtype=bool)
    picks: list[int] = []
    distances: list[float] = []
    for step in range(min(budget, len(points))):
        weights = np.where(free, nearest, 0.0)
        total = weights.sum()
        if step == 0 and total > 0:
            pick = int(weights.argmax())
        else:
            chances = weights / total if total > 0 else free / free.sum()
            pick = int(rng.choice(len(points), p=chances))
        picks.append(pick)
        distances.append(float(nearest[pick]))
        free[pick] = False
        products = (residuals @ residuals[pick]) * (points @ points[pick])
        squared = np.maximum(norms + norms[pick] - 2 * products, 0)
        squared[squared <= 1e-6 * (norms + norms[pick])] = 0  # duplicates, within float32
        nearest = squared.astype(np.float64) if step == 0 else np.minimum(nearest, squared)
    return np.array(picks, dtype=np.int64), np.array(distances)


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    embeddings = pool.require_embeddings()
    usable = np.intersect1d(finite_rows(embeddings), np.flatnonzero(np.isfinite(pool.probabilities).all(axis=1)))
    if not len(usable) or not pool.probabilities.shape[1]:
        order = rng.permutation(len(pool))[:budget]
        return Choice(order, np.full(len(order), np.nan), ("no probabilities: chosen at random",))
    chosen, distances = gradient_seeds(pool.probabilities[usable], embeddings[usable], budget, rng)
    return missing_last(usable[chosen], np.sqrt(distances), usable, pool, budget, rng)


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    return [
        f"would teach something new: its gradient is {s:.3g} from those chosen before; now {pool.prediction(i)}"
        for i, s in zip(indices, scores, strict=True)
    ]


BADGE = Strategy(
    name="badge",
    summary="records that would change the classifier a lot, each differently; for large batches in later rounds",
    source="Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, ICLR 2020",
    pick=_pick,
    explain=_explain,
    needs_embeddings=True,
)
