"""Uncertainty herding: records that represent many others the model is unsure of."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.embeddings import directions, finite_rows, gaussians, median_distance, sample_rows
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategies.uncertainty import usable_narrowness
from rsam_app.selection.strategy import Choice, Strategy, missing_last

WIDTH = 0.5
"""Width of the kernel, in median distances between two records: .42 to .52 were best on birds and pets."""
DECIDED = 0.2
"""Weight of a record that the model is certain of; one that it is torn over has weight 1. With few labels the model is
often certain and wrong; the best of 0, .2 and .5 on birds."""
ANCHORS, CANDIDATES = 4096, 16_384
"""Maximum numbers of records that coverage is measured on, and that are chosen from: 256 MiB of similarities. Larger
pools are sampled by seed."""
_COLUMNS, _BATCH = 1024, 64


def herd(
    similarity: np.ndarray, weights: np.ndarray, covered: np.ndarray, budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """Maximise the weighted coverage Σᵢ wᵢ maxⱼ K(i, j) over the chosen j greedily.

    `similarity` `(A, N)` in [0, 1] is that of anchors to candidates, `weights` `(A,)` ≥ 0, `covered` `(A,)` the initial
    coverage. Returns `min(budget, N)` candidates, each once, and the gain of each; of equal gains the lower row wins.
    A candidate's gain never grows as others are chosen, so only the largest outdated gains are recomputed (lazy greedy,
    Minoux 1978); the choice is the same as without that.
    """
    covered = covered.copy()
    bound = np.empty(similarity.shape[1])
    for begin in range(0, len(bound), _COLUMNS):
        block = similarity[:, begin : begin + _COLUMNS]
        bound[begin : begin + _COLUMNS] = weights @ np.maximum(block - covered[:, None], 0)
    fresh = np.zeros(len(bound), dtype=np.int64)
    picks: list[int] = []
    gains: list[float] = []
    while len(picks) < min(budget, len(bound)):
        best = int(bound.argmax())
        if fresh[best] < len(picks):
            stale = np.argsort(-bound, kind="stable")[:_BATCH]
            stale = stale[(fresh[stale] < len(picks)) & np.isfinite(bound[stale])]
            bound[stale] = weights @ np.maximum(similarity[:, stale] - covered[:, None], 0)
            fresh[stale] = len(picks)
            continue
        picks.append(best)
        gains.append(float(bound[best]))
        covered = np.maximum(covered, similarity[:, best])
        bound[best] = -np.inf
    return np.array(picks, dtype=np.int64), np.array(gains)


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    embeddings, known = pool.require_embeddings(), pool.covered_embeddings()
    usable, unsure = usable_narrowness(pool, finite_rows(embeddings))
    if not len(usable):
        return missing_last(usable, np.zeros(0), usable, pool, budget, rng)
    candidates = sample_rows(usable, max(CANDIDATES, budget), rng)
    anchors = sample_rows(usable, ANCHORS, rng)
    at_anchors, at_candidates = directions(embeddings[anchors]), directions(embeddings[candidates])
    width = WIDTH * median_distance(at_anchors, rng)
    covered = np.zeros(len(anchors), dtype=np.float32)
    known = directions(known[finite_rows(known)])
    for begin in range(0, len(known), _COLUMNS):
        near = gaussians(at_anchors, known[begin : begin + _COLUMNS], (width,))
        covered = np.maximum(covered, near.max(axis=1, initial=0))
    similarity = gaussians(at_anchors, at_candidates, (width,))
    weights = DECIDED + (1 - DECIDED) * unsure[anchors]
    chosen, gains = herd(similarity, weights.astype(np.float32), covered, budget)
    return missing_last(candidates[chosen], gains, usable, pool, budget, rng)


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    if np.isnan(pool.margin).all():
        return [f"represents about {score:.1f} images that no chosen one is like yet" for score in scores]
    return [
        f"represents about {score:.1f} images the model is unsure of; now {pool.prediction(i)}"
        for i, score in zip(indices, scores, strict=True)
    ]


HERDING = Strategy(
    name="herding",
    summary="records that represent many others the model is unsure of; good with few labels and with many",
    source=(
        "Bae, Oliveira & Sutherland, Uncertainty Herding, ICLR 2025 (arXiv 2412.20644); kernel width, uncertainty"
        " (margin) and its weight are ours"
    ),
    pick=_pick,
    explain=_explain,
    needs_embeddings=True,
)
