"""Records that the model is unsure of and did not look at properly."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategies.margin import MARGIN, narrowness
from rsam_app.selection.strategies.misattention import MISATTENTION, misattention
from rsam_app.selection.strategy import Strategy, by_score


def unsure_and_misplaced(pool: Pool) -> np.ndarray:
    """(1 - margin) × misattention, `(N,)` in [0, 1]: large only where both are. Raises as `misattention` does."""
    product: np.ndarray = narrowness(pool) * misattention(pool)
    return product


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    unsure = MARGIN.explain(pool, indices, narrowness(pool)[indices])
    where = MISATTENTION.explain(pool, indices, misattention(pool)[indices])
    return [f"{first}; and {second}" for first, second in zip(unsure, where, strict=True)]


UNCERTAIN_ATTENTION = Strategy(
    name="uncertain_attention",
    summary="records torn between classes where the model also looked wrongly; one look mends label and rectangle",
    source="ours; not compared with others by an oracle, which has no rectangles to give",
    pick=by_score(unsure_and_misplaced),
    explain=_explain,
)
