"""Records drawn at random: the baseline that every other strategy must beat."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Choice, Strategy


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    draws = rng.random(len(pool))
    chosen = np.argsort(-draws, kind="stable")[:budget].astype(np.int64)
    return Choice(chosen, draws[chosen])


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    return ["drawn at random"] * len(indices)


RANDOM = Strategy(
    name="random",
    summary="any records, evenly; an unbiased sample, and what the others are measured against",
    source="simple random sampling",
    pick=_pick,
    explain=_explain,
)
