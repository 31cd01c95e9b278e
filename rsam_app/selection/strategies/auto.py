"""The default strategy: suspect labels and misplaced rectangles or, without labels, the images worth labelling."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategies.herding import HERDING
from rsam_app.selection.strategies.misattention import MISATTENTION, has_misattention, misattention
from rsam_app.selection.strategies.suspect_label import explain_suspicion, has_label_quality, suspicion
from rsam_app.selection.strategies.transductive_design import TRANSDUCTIVE_DESIGN
from rsam_app.selection.strategies.uncertainty import MARGIN
from rsam_app.selection.strategy import Choice, Strategy, percentile_ranks, rank

_TIE = 1e-6
_ALSO = 0.9
"""Percentile rank from which a second fault is mentioned too."""


def worst_of_two(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the larger of a record's two percentile ranks; the smaller breaks ties: `(N,)` in [0, 1].

    A wrong label and a misplaced rectangle are separate faults: by their mean, the worst record in one of them would
    rank below many that are mediocre in both. A missing rank counts as 0.
    """
    a, b = percentile_ranks(first), percentile_ranks(second)
    missing = np.isnan(a) & np.isnan(b)
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    combined = (1 - _TIE) * np.maximum(a, b) + _TIE * np.minimum(a, b)
    return np.where(missing, np.nan, combined)


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    has_labels, has_attention = has_label_quality(pool), has_misattention(pool)
    if has_labels and has_attention:
        return rank(worst_of_two(suspicion(pool), misattention(pool)), budget, rng)
    if has_labels:
        choice, note = rank(suspicion(pool), budget, rng), "no misattention scores: ranked by suspect label alone"
    else:
        other = _without_labels(pool)
        choice, note = other.pick(pool, budget, rng), f"no known labels: chosen for labelling, by {other.name}"
    return Choice(choice.indices, choice.scores, (*choice.notes, note))


def _without_labels(pool: Pool) -> Strategy:
    if pool.embeddings is None:
        return MARGIN
    return HERDING if np.isnan(pool.margin).all() else TRANSDUCTIVE_DESIGN


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    if not has_label_quality(pool):
        return _without_labels(pool).explain(pool, indices, scores)
    doubt = suspicion(pool)
    misplaced = misattention(pool) if has_misattention(pool) else np.full(len(pool), np.nan)
    label_ranks, attention_ranks = (np.nan_to_num(percentile_ranks(s), nan=-1)[indices] for s in (doubt, misplaced))
    label_reasons = explain_suspicion(pool, indices, doubt[indices])
    attention_reasons = MISATTENTION.explain(pool, indices, misplaced[indices])
    reasons = []
    for a, b, first, second in zip(label_ranks, attention_ranks, label_reasons, attention_reasons, strict=True):
        if b > a:
            first, second = second, first
        reasons.append(f"{first}; also, {second}" if min(a, b) >= _ALSO else first)
    return reasons


AUTO = Strategy(
    name="auto",
    summary=(
        "the default: suspect labels and misplaced rectangles; if nothing has a label, `herding`, then"
        " `transductive_design`"
    ),
    source=(
        "ours: for relabelling a heuristic that has not been compared with others yet; for labelling, the best"
        " strategies of our simulations (docs/selection.md)"
    ),
    pick=_pick,
    explain=_explain,
    needs_embeddings_unlabelled=True,
)
