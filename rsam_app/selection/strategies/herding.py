"""Records that stand for many others which the model is unsure of: coverage early, uncertainty later."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.embeddings import directions, finite_rows, gaussians, median_distance, sample_rows
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategies.uncertainty import doubts
from rsam_app.selection.strategy import Choice, Strategy, missing_last

WIDTH = 0.5
"""Of the kernel, in median distances between two records: .42 to .52 did best on birds and pets."""
DECIDED = 0.2
"""What a record that the model has decided about counts beside one that it is torn over. With few labels the model is
often sure and wrong; of 0, .2 and .5 the best on birds."""
ANCHORS, CANDIDATES = 4096, 16_384
"""Most records that coverage is measured on, and that are chosen among: 256 MiB of similarities. Larger pools are
sampled by seed."""


def herd(
    similarity: np.ndarray, weights: np.ndarray, covered: np.ndarray, budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy maximisation of the weighted coverage Σᵢ wᵢ maxⱼ K(i, j) over the chosen j.

    `similarity` `(A, N)` in [0, 1] of anchors to candidates, `weights` `(A,)` ≥ 0, `covered` `(A,)` the coverage to
    start from. Returns `min(budget, N)` candidates, each once, and what each added; equal gains go to the lower one.
    What an item adds never grows as others are chosen, so that items whose earlier gain is not the largest are not
    measured again (Minoux 1978): the same choice as measuring them all.
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
            stale = np.argsort(-bound, kind="stable")[:_AT_ONCE]
            stale = stale[(fresh[stale] < len(picks)) & np.isfinite(bound[stale])]
            bound[stale] = weights @ np.maximum(similarity[:, stale] - covered[:, None], 0)
            fresh[stale] = len(picks)
            continue
        picks.append(best)
        gains.append(float(bound[best]))
        covered = np.maximum(covered, similarity[:, best])
        bound[best] = -np.inf
    return np.array(picks, dtype=np.int64), np.array(gains)


_COLUMNS, _AT_ONCE = 1024, 64


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    if pool.embeddings is None:
        raise ValueError("herding needs a pool with embeddings")
    usable, unsure = doubts(pool, finite_rows(pool.embeddings))
    if not len(usable):
        return missing_last(usable, np.zeros(0), usable, pool, budget, rng)
    candidates = sample_rows(usable, max(CANDIDATES, budget), rng)
    anchors = sample_rows(usable, ANCHORS, rng)
    at_anchors, at_candidates = directions(pool.embeddings[anchors]), directions(pool.embeddings[candidates])
    width = WIDTH * median_distance(at_anchors, rng)
    covered = np.zeros(len(anchors), dtype=np.float32)
    if pool.covered is not None and len(pool.covered):
        seen = directions(pool.covered[finite_rows(pool.covered)])
        for begin in range(0, len(seen), _COLUMNS):
            near = gaussians(at_anchors, seen[begin : begin + _COLUMNS], (width,))
            covered = np.maximum(covered, near.max(axis=1, initial=0))
    similarity = gaussians(at_anchors, at_candidates, (width,))
    weights = DECIDED + (1 - DECIDED) * unsure[anchors]
    chosen, gains = herd(similarity, weights.astype(np.float32), covered, budget)
    return missing_last(candidates[chosen], gains, usable, pool, budget, rng)


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    if np.isnan(pool.margin).all():
        return [f"stands for images that no chosen one is like yet, about {score:.1f} of them" for score in scores]
    return [
        f"stands for images the model is unsure of, about {score:.1f} of them; now {pool.predicted[i]}"
        f" ({pool.confidence[i]:.0%})"
        for i, score in zip(indices, scores, strict=True)
    ]


HERDING = Strategy(
    name="herding",
    summary="records that stand for many others the model is unsure of; good with few labels and with many",
    source=(
        "Bae, Oliveira & Sutherland, Uncertainty Herding, ICLR 2025 (arXiv 2412.20644); kernel width, uncertainty"
        " (margin) and its weight are ours"
    ),
    pick=_pick,
    explain=_explain,
    needs_embeddings=True,
)
