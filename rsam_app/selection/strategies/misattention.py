"""Records where the model looked at the wrong place."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategies.uncertainty import MARGIN, narrowness
from rsam_app.selection.strategy import Strategy, by_score
from rsam_app.system.errors import UserError


def has_misattention(pool: Pool) -> bool:
    """Whether the predictions say anywhere how wrong the place is; a model without attention cannot."""
    return "misattention" in pool.scores and bool(np.isfinite(pool.scores["misattention"]).any())


def misattention(pool: Pool) -> np.ndarray:
    """How wrong the place is where the model looked, judged without the truth: `(N,)`, 0 fine … 1 wrong.

    Raises `UserError` where the predictions do not have it.
    """
    if not has_misattention(pool):
        raise UserError(
            "select misattention: the predictions have no misattention; a model with `attention: none` has none.\n"
            "Train with `attention: rsam`, or choose another strategy, e.g. suspect_label or margin."
        )
    return pool.scores["misattention"].astype(np.float64)


def _explain_misattention(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    return [
        f"the model probably looked at the wrong place: misattention {score:.2f} (0 fine, 1 wrong)" for score in scores
    ]


MISATTENTION = Strategy(
    name="misattention",
    summary="records where the model probably looked at the wrong place; for correcting rectangles",
    source="ours",
    pick=by_score(misattention),
    explain=_explain_misattention,
)


def uncertain_attention(pool: Pool) -> np.ndarray:
    """(1 - margin) × misattention, `(N,)` in [0, 1]: large only where both are. Raises as `misattention` does."""
    product: np.ndarray = narrowness(pool) * misattention(pool)
    return product


def _explain_both(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    unsure = MARGIN.explain(pool, indices, narrowness(pool)[indices])
    where = MISATTENTION.explain(pool, indices, misattention(pool)[indices])
    return [f"{first}; and {second}" for first, second in zip(unsure, where, strict=True)]


UNCERTAIN_ATTENTION = Strategy(
    name="uncertain_attention",
    summary="records torn between classes where the model also looked wrongly; one look mends label and rectangle",
    source="ours; not compared with others by an oracle, which has no rectangles to give",
    pick=by_score(uncertain_attention),
    explain=_explain_both,
)
