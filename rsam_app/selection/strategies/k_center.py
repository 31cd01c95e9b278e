"""Records that cover the pool: each next one is the farthest from all before."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Choice, Strategy, finite_rows

ROWS = 8192
"""Rows of a block: (8192, 512) float32 is 16 MiB."""


def k_center_greedy(
    embeddings: np.ndarray, budget: int, rng: np.random.Generator, centers: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy k-center (Gonzalez 1985; Sener & Savarese, ICLR 2018, arXiv 1708.00489, algorithm 1).

    Returns `min(budget, N)` rows of `embeddings` `(N, D)`, each once, as int64, and the Euclidean distance (float64) of
    each to the nearest centre before it. `centers` `(M, D)` are covered from the start; without them the first row is
    drawn by `rng` and its distance is infinite. Equal distances go to the lower row. Rows that are not finite cannot be
    placed: they come last, in random order, with distance NaN.

    One pass over the embeddings per pick, in float32. The mean is taken off first, so that the distances of
    near-duplicates do not drown in their norms.
    """
    rows = finite_rows(embeddings)
    points = embeddings[rows].astype(np.float32)
    mean = points.mean(axis=0, dtype=np.float64).astype(np.float32) if len(points) else np.float32(0)
    points -= mean
    norms = np.einsum("nd,nd->n", points, points)
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    if centers is not None:
        _cover(nearest, points, norms, centers[finite_rows(centers)].astype(np.float32) - mean)
    picks: list[int] = []
    squared_distances: list[float] = []
    for _ in range(min(budget, len(points))):
        unplaced = not picks and bool(np.isinf(nearest).all())
        pick = int(rng.integers(len(points))) if unplaced else int(nearest.argmax())
        picks.append(pick)
        squared_distances.append(float(nearest[pick]))
        squared = norms + norms[pick] - 2 * (points @ points[pick])
        np.minimum(nearest, np.maximum(squared, 0, out=squared), out=nearest)
        nearest[pick] = -1  # below every distance: chosen once, duplicates of it stay eligible
    unplaceable = rng.permutation(np.setdiff1d(np.arange(len(embeddings)), rows))[: budget - len(picks)]
    chosen = np.concatenate([rows[picks], unplaceable]).astype(np.int64)
    distances = np.sqrt(np.array(squared_distances, dtype=np.float64))
    return chosen, np.concatenate([distances, np.full(len(unplaceable), np.nan)])


def _cover(nearest: np.ndarray, points: np.ndarray, norms: np.ndarray, centers: np.ndarray) -> None:
    """Lower `nearest`, squared distances in place, to those of the nearest of `centers`, in blocks of both."""
    columns = 1024
    for c in range(0, len(centers), columns):
        some = centers[c : c + columns]
        some_norms = np.einsum("md,md->m", some, some)
        for i in range(0, len(points), ROWS):
            block = slice(i, i + ROWS)
            squared = norms[block, None] + some_norms - 2 * (points[block] @ some.T)
            nearest[block] = np.minimum(nearest[block], np.maximum(squared.min(axis=1), 0))


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    if pool.embeddings is None:
        raise ValueError("k_center needs a pool with embeddings")
    chosen, distances = k_center_greedy(pool.embeddings, budget, rng, pool.covered)
    notes = []
    if np.isnan(distances).any():
        notes.append(
            f"{int(np.isnan(distances).sum())} chosen records have an embedding that is not finite; they rank last"
        )
    if repeated := int((distances == 0).sum()):
        notes.append(
            f"{repeated} chosen records have the very embedding of one chosen before; the pool has no others left"
        )
    return Choice(chosen, distances, tuple(notes))


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    before = "chosen" if pool.covered is None or not len(pool.covered) else "chosen or reviewed"
    first = "the first image, drawn at random to start from"
    return [first if np.isinf(s) else f"unlike the images {before} before it: {s:.3g} from the nearest" for s in scores]


K_CENTER = Strategy(
    name="k_center",
    summary="records that cover the variety of the pool, whatever the model thinks; for a first set of labels",
    source="Sener & Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018",
    pick=_pick,
    explain=_explain,
    needs_embeddings=True,
)
