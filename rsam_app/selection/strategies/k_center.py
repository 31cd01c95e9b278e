"""Greedy k-center: each next record is the farthest from all before it."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.embeddings import finite_rows
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Choice, Strategy

ROWS = 8192
"""Rows of a block: (8192, 512) float32 is 16 MiB."""
FRONTIER = 8192
"""Number of farthest rows that are updated at each pick, between two passes over all rows."""
PENDING = 256
"""Maximum number of picks between two passes."""


def k_center_greedy(
    embeddings: np.ndarray, budget: int, rng: np.random.Generator, centers: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Choose k centres greedily (Gonzalez 1985; Sener & Savarese, ICLR 2018, arXiv 1708.00489, algorithm 1).

    Returns `min(budget, N)` rows of `embeddings` `(N, D)`, each once, as int64, and the Euclidean distance (float64) of
    each to the nearest centre before it. `centers` `(M, D)` are the initial centres; without them the first row is
    drawn by `rng` and its distance is infinite. Of equal distances the lower row wins. Rows that are not finite come
    last, in random order, with distance NaN.

    Computed in float32 and in blocks, with three numbers a row beside the embeddings. A distance to the nearest centre
    never grows as centres join, so each pick updates only the rows that were farthest at the last pass; a new pass over
    all rows follows when another row might be farther. The choice is the same as with full updates (lazy greedy, Minoux
    1978). The mean is subtracted first, so that rounding does not hide the distances of near-duplicates.
    """
    rows = finite_rows(embeddings)
    cover = _Cover(embeddings, rows)
    if centers is not None:
        cover.lower(centers[finite_rows(centers)])
    picks: list[int] = []
    squared_distances: list[float] = []
    frontier = None
    while len(picks) < min(budget, len(rows)):
        if not picks and np.isinf(cover.nearest[0]):
            pick, squared = int(rng.integers(len(rows))), np.inf
        else:
            frontier = frontier or _Frontier(cover)
            if frontier.may_be_beaten():
                cover.lower(embeddings[rows[frontier.picked]])
                frontier = _Frontier(cover)
            pick, squared = frontier.take()
        picks.append(pick)
        squared_distances.append(squared)
        cover.nearest[pick] = -1  # below every distance: chosen once, while its duplicates stay eligible
        if frontier is None:
            cover.lower(embeddings[rows[[pick]]])
    unplaceable = rng.permutation(np.setdiff1d(np.arange(len(embeddings)), rows))[: budget - len(picks)]
    chosen = np.concatenate([rows[picks], unplaceable]).astype(np.int64)
    distances = np.sqrt(np.array(squared_distances, dtype=np.float64))
    return chosen, np.concatenate([distances, np.full(len(unplaceable), np.nan)])


class _Cover:
    """Squared distances of rows to their nearest centre."""

    def __init__(self, embeddings: np.ndarray, rows: np.ndarray) -> None:
        self.embeddings, self.rows = embeddings, rows
        self.blocks = [slice(begin, begin + ROWS) for begin in range(0, len(rows), ROWS)]
        self.mean = np.zeros(embeddings.shape[1], dtype=np.float32)
        if len(rows):
            total = sum(self.points(block).sum(axis=0, dtype=np.float64) for block in self.blocks)
            self.mean = (total / len(rows)).astype(np.float32)
        self.norms = np.empty(len(rows), dtype=np.float32)
        for block in self.blocks:
            self.norms[block] = _squares(self.points(block))
        self.nearest = np.full(len(rows), np.inf, dtype=np.float32)

    def points(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Return these rows in float32 with the mean subtracted."""
        points: np.ndarray = self.embeddings[self.rows[chosen]].astype(np.float32) - self.mean
        return points

    def lower(self, centers: np.ndarray) -> None:
        """Update all rows with new centres `(M, D)`."""
        for begin in range(0, len(centers), PENDING):
            some = centers[begin : begin + PENDING].astype(np.float32) - self.mean
            norms = _squares(some)
            for block in self.blocks:
                squared = self.norms[block, None] + norms - 2 * (self.points(block) @ some.T)
                self.nearest[block] = np.minimum(self.nearest[block], np.maximum(squared.min(axis=1), 0))


class _Frontier:
    """The rows farthest from all centres, updated at each pick, and an upper bound for the others."""

    def __init__(self, cover: _Cover) -> None:
        self.picked: list[int] = []
        nearest, size = cover.nearest, min(FRONTIER, len(cover.rows))
        least = np.partition(nearest, -size)[-size]
        farther = np.flatnonzero(nearest > least)
        level = np.flatnonzero(nearest == least)
        self.rows = np.sort(np.concatenate([farther, level[: size - len(farther)]]))
        left_out = level[size - len(farther) :]
        below = nearest[nearest < least]
        self.others = float(least) if len(left_out) else float(below.max(initial=-1))
        self.first_of_others = int(left_out[0]) if len(left_out) else -1
        self.points, self.norms = cover.points(self.rows), cover.norms[self.rows]
        self.nearest = nearest[self.rows]

    def may_be_beaten(self) -> bool:
        """Return whether another row might be farther than the farthest here, or as far with a lower number."""
        if not self.picked:
            return False
        position = int(self.nearest.argmax())
        farthest = float(self.nearest[position])
        if len(self.picked) >= PENDING or farthest < self.others:
            return True
        return farthest == self.others and not self.rows[position] < self.first_of_others

    def take(self) -> tuple[int, float]:
        """Return the farthest row and its squared distance, and make it a centre."""
        position = int(self.nearest.argmax())
        squared = self.norms + self.norms[position] - 2 * (self.points @ self.points[position])
        pick, distance = int(self.rows[position]), float(self.nearest[position])
        np.minimum(self.nearest, np.maximum(squared, 0, out=squared), out=self.nearest)
        self.nearest[position] = -1
        self.picked.append(pick)
        return pick, distance


def _squares(points: np.ndarray) -> np.ndarray:
    squares: np.ndarray = np.einsum("nd,nd->n", points, points)
    return squares


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    chosen, distances = k_center_greedy(pool.require_embeddings(), budget, rng, pool.covered)
    notes = []
    if missing := int(np.isnan(distances).sum()):
        notes.append(f"{missing} chosen records have an embedding that is not finite; they rank last")
    if repeated := int((distances == 0).sum()):
        notes.append(f"{repeated} chosen records repeat an embedding chosen before; the pool has no others left")
    return Choice(chosen, distances, tuple(notes))


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    before = "chosen" if pool.covered is None or not len(pool.covered) else "chosen or reviewed"
    first = "the first image, drawn at random"
    return [first if np.isinf(s) else f"unlike the images {before} before it: {s:.3g} from the nearest" for s in scores]


K_CENTER = Strategy(
    name="k_center",
    summary="records that cover the variety of the pool, whatever the model predicts; for a first set of labels",
    source="Sener & Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018",
    pick=_pick,
    explain=_explain,
    needs_embeddings=True,
)
