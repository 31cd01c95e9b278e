"""Learning curve of taught discovery: the agreement with held-out answers after a quarter, a half and all others."""

from __future__ import annotations

import numpy as np

from rsam_app.run.outlook import FEWEST, SMALL, STEP, Outlook
from rsam_app.training.discovery.held_out import FOLDS, Trial, best_kind

PARTS = (4, 2, 1)
"""Numbers of parts that the answers are divided into, for a quarter, a half, and all of them."""

DECAY = 0.5
"""Exponent of the curve: the agreement after n answers is a - b n^-DECAY."""


def find_outlook(trial: Trial) -> Outlook:
    """The outlook of the lessons of a trial, cross-validated."""
    count, right = len(trial.lessons.rows), trial.lessons.right.numpy()
    if right.sum() < FEWEST:
        return Outlook(count, None, None)
    curve = []
    for parts in PARTS:
        merits = trial.all_others if parts == 1 else trial.merits(parts)
        curve.append(merits[best_kind(merits), right])
    sizes = count * (1 - 1 / FOLDS) / np.array(PARTS)
    return Outlook(count, round(float(curve[-1].mean()), 4), answers_until_flat(sizes, np.array(curve), count))


def answers_until_flat(sizes: np.ndarray, merits: np.ndarray, count: int) -> int | None:
    """Answers beyond `count` after which `STEP` more raise the agreement by less than `SMALL`; None if it cannot be
    told.

    `merits` `(S, n)` are the agreements with n answers after `sizes` `(S,)` others. The slope b of the curve is fitted
    to each answer's; it is 0 that is told if b and its standard error together are flat, and more if b exceeds it.
    """
    inputs = sizes**-DECAY - (sizes**-DECAY).mean()
    slopes = -(inputs @ merits) / (inputs @ inputs)
    slope, error = float(slopes.mean()), float(slopes.std(ddof=1)) / np.sqrt(len(slopes))
    if _until_flat(slope + error, count) == 0:
        return 0
    return _until_flat(slope, count) if slope > error else None


def _until_flat(slope: float, count: int) -> int:
    more = 0
    while slope * ((count + more) ** -DECAY - (count + more + STEP) ** -DECAY) >= SMALL:
        more += 1
    return more
