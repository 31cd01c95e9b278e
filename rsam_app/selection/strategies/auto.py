"""The default. With labels: whatever stands out most, a suspect label or a misplaced rectangle. Without: what stands
for many others, and once there is a model, what tells the most about them."""

from __future__ import annotations

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.selection.strategies.herding import HERDING
from rsam_app.selection.strategies.misattention import MISATTENTION, has_misattention, misattention
from rsam_app.selection.strategies.suspect_label import explain_suspicion, has_label_quality, suspicion
from rsam_app.selection.strategies.transductive_design import TRANSDUCTIVE_DESIGN
from rsam_app.selection.strategies.uncertainty import MARGIN
from rsam_app.selection.strategy import Choice, Strategy, percentile_ranks, rank


def worst_of_two(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The larger of a record's two percentile ranks, plus a little of the smaller to break ties: `(N,)` in [0, 1].

    The larger, not the mean: a wrong label and a misplaced rectangle are separate faults, and a mean would pass over
    the record that is the worst in one of them for many that are middling in both. A rank that is missing counts as 0.
    """
    a, b = percentile_ranks(first), percentile_ranks(second)
    missing = np.isnan(a) & np.isnan(b)
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    combined = (1 - _TIE) * np.maximum(a, b) + _TIE * np.minimum(a, b)
    return np.where(missing, np.nan, combined)


_TIE = 1e-6


def _pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
    labels, places = has_label_quality(pool), has_misattention(pool)
    if labels and places:
        return rank(worst_of_two(suspicion(pool), misattention(pool)), budget, rng)
    if labels:
        choice, note = rank(suspicion(pool), budget, rng), "no misattention scores: ranked by suspect label alone"
    else:
        other = _to_label(pool)
        choice, note = other.pick(pool, budget, rng), f"no known labels: chosen for labelling, by {other.name}"
    return Choice(choice.indices, choice.scores, (*choice.notes, note))


def _to_label(pool: Pool) -> Strategy:
    if pool.embeddings is None:
        return MARGIN
    return HERDING if np.isnan(pool.margin).all() else TRANSDUCTIVE_DESIGN


def _explain(pool: Pool, indices: np.ndarray, scores: np.ndarray) -> list[str]:
    labels, places = has_label_quality(pool), has_misattention(pool)
    if not labels:
        return _to_label(pool).explain(pool, indices, scores)
    doubt = suspicion(pool)
    place = misattention(pool) if places else np.full(len(pool), np.nan)
    by_label = np.nan_to_num(percentile_ranks(doubt), nan=-1)[indices]
    by_place = np.nan_to_num(percentile_ranks(place), nan=-1)[indices]
    said_of_label = explain_suspicion(pool, indices, doubt[indices])
    said_of_place = MISATTENTION.explain(pool, indices, place[indices])
    reasons = []
    for a, b, label, where in zip(by_label, by_place, said_of_label, said_of_place, strict=True):
        if min(a, b) >= _ALSO:
            reasons.append(f"{label}; also, {where}" if a >= b else f"{where}; also, {label}")
        else:
            reasons.append(label if a >= b else where)
    return reasons


_ALSO = 0.9
"""A fault among the worst tenth is worth naming beside the one that chose the record."""

AUTO = Strategy(
    name="auto",
    summary=(
        "the default: suspect labels and misplaced rectangles; where nothing has a label, `herding`, then"
        " `transductive_design`"
    ),
    source=(
        "ours: a heuristic for relabelling that has not been compared with others yet; for labelling, what"
        " did best of all (docs/selection.md)"
    ),
    pick=_pick,
    explain=_explain,
    needs_embeddings_unlabelled=True,
)
