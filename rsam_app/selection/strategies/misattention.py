"""Strategies by misattention: records whose rectangle is probably misplaced, alone or together with uncertainty."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategies.uncertainty import MARGIN, narrowness
from rsam_app.selection.strategy import Strategy, by_score
from rsam_app.system.errors import UserError


def has_misattention(pool: Pool) -> bool:
    """Return whether any record has a misattention score; those of a model without attention have none."""
    return pool.has_score("misattention")


def misattention(pool: Pool) -> np.ndarray:
    """Return how wrong the location of the attention is, estimated without the truth: `(N,)`, 0 fine … 1 wrong.

    Raises `UserError` if the predictions lack it.
    """
    if not has_misattention(pool):
        raise UserError(
            "select misattention: the predictions have no misattention; a model with `attention: none` has none.\n"
            "Train with `attention: rsam`, or choose another strategy, e.g. suspect_label or margin."
        )
    return pool.scores["misattention"].astype(np.float64)


def uncertain_attention(pool: Pool) -> np.ndarray:
    """Return (1 - margin) × misattention, `(N,)` in [0, 1]: large only if both are. Raises as `misattention` does."""
    product: np.ndarray = narrowness(pool) * misattention(pool)
    return product


def _explain_misattention(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    return [f"the model probably looked at the wrong place: misattention {s:.2f} (0 fine, 1 wrong)" for s in scores]


def _explain_both(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    unsure = MARGIN.explain(pool, indices, narrowness(pool)[indices])
    misplaced = _explain_misattention(pool, indices, misattention(pool)[indices])
    return [f"{first}; and {second}" for first, second in zip(unsure, misplaced, strict=True)]


MISATTENTION = Strategy(
    name="misattention",
    summary="records where the model probably looked at the wrong place; for correcting rectangles",
    source="ours",
    pick=by_score(misattention),
    explain=_explain_misattention,
)
UNCERTAIN_ATTENTION = Strategy(
    name="uncertain_attention",
    summary="records torn between classes with a misplaced rectangle too; fix label and rectangle in one visit",
    source="ours; not compared with others by an oracle, which has no rectangles to give",
    pick=by_score(uncertain_attention),
    explain=_explain_both,
)
