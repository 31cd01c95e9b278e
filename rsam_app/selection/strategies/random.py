"""Random sampling: the baseline for every other strategy."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Choice, Strategy


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    draws = rng.random(len(pool))
    chosen = np.argsort(-draws, kind="stable")[:budget].astype(np.int64)
    return Choice(chosen, draws[chosen])


RANDOM = Strategy(
    name="random",
    summary="a uniform random sample; unbiased, and the baseline for the others",
    source="simple random sampling",
    pick=_pick,
    explain=lambda pool, indices, scores: ["drawn at random"] * len(indices),
)
