"""Strategy by label quality: records whose given label the model does not believe."""

from __future__ import annotations

import numpy as np

from rsam_app.evaluation.scores.label_quality import label_quality
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Strategy, by_score
from rsam_app.system.errors import UserError


def has_label_quality(pool: Pool) -> bool:
    """Return whether any record has a label that the model knows."""
    return pool.has_score("label_quality") or bool((pool.label_indices >= 0).any())


def suspicion(pool: Pool) -> np.ndarray:
    """Return 1 - label quality of each record, `(N,)`: 0 the label is certainly right, 1 it is certainly wrong.

    Uses the predictions' column, or computes label quality from the probabilities if there is none. Raises `UserError`
    if no record has a label of the model's classes.
    """
    if not has_label_quality(pool):
        raise UserError(
            "select suspect_label: no record of the pool has a label that the model knows, so none can be wrong.\n"
            "Choose a labelled split, or a strategy for unlabelled images, e.g. margin or k_center."
        )
    if pool.has_score("label_quality"):
        return 1.0 - pool.scores["label_quality"].astype(np.float64)
    return 1.0 - label_quality(pool.probabilities, pool.label_indices).astype(np.float64)


def explain_suspicion(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    """Return why each record's label (rows `indices`) is suspect."""
    return [_reason(pool, int(i)) for i in indices]


def _reason(pool: Pool, i: int) -> str:
    label, belief = pool.labels[i], pool.belief
    if pool.label_indices[i] < 0:
        return f"labelled {label or 'nothing'}, not a class of the model; the model says {pool.predicted[i]}"
    if np.isnan(belief.chance[i]):
        return f"labelled {label}; the model says {pool.predicted[i]}"
    given = f"labelled {label}, probability {belief.given[i]:.0%}"
    suggested = pool.class_name(int(belief.suggested[i]))
    return given if label == suggested else f"{given}; the model says {suggested}, {belief.chance[i]:.0%}"


SUSPECT_LABEL = Strategy(
    name="suspect_label",
    summary="records whose given label the model does not believe; for finding label errors",
    source="Northcutt, Jiang & Chuang, Confident Learning, JAIR 2021 (arXiv 1911.00068); the score is ours",
    pick=by_score(suspicion),
    explain=explain_suspicion,
)
