"""Limits on any strategy's choice: records per predicted class, and near-duplicate embeddings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from rsam_app.selection.embeddings import directions
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Choice, Strategy
from rsam_app.system.errors import UserError

_BLOCK, _ROUNDING = 2048, 1e-6


@dataclass(frozen=True)
class Limits:
    """Limits of a choice; None for no limit."""

    per_class: int | None = None
    """Maximum number of records of one predicted class."""
    near_duplicates: float | None = None
    """Cosine of embeddings from which two records count as one; records reviewed before count too."""

    def __bool__(self) -> bool:
        return self.per_class is not None or self.near_duplicates is not None

    def check(self) -> None:
        """Raise `UserError` if a limit is out of range."""
        if self.per_class is not None and self.per_class < 1:
            raise UserError(f"select: per_class is {self.per_class}, expected at least 1.")
        if self.near_duplicates is not None and not 0 < self.near_duplicates <= 1:
            raise UserError(
                f"select: near_duplicates is {self.near_duplicates:g}, expected a cosine in (0, 1], e.g. .95."
            )


def choose_within(strategy: Strategy, pool: Pool, budget: int, rng: np.random.Generator, limits: Limits) -> Choice:
    """Choose by `strategy`, replacing each record that breaks `limits` by another.

    Later choices count earlier ones as covered. If the limits leave fewer than `budget` records, the choice is shorter
    and a note says so. `near_duplicates` needs a pool with embeddings. Raises `UserError` as the strategy does.
    """
    limits.check()
    if not limits or not len(pool) or budget < 1:
        return strategy(pool, budget, rng)
    eligible = np.ones(len(pool), dtype=bool)
    units, cosine = None, limits.near_duplicates
    if cosine is not None:
        units = directions(pool.require_embeddings())
        eligible &= ~_similar(units, directions(pool.covered_embeddings()), cosine)
    chosen: list[int] = []
    scores: list[float] = []
    counts: Counter[str] = Counter()
    notes: tuple[str, ...] = ()
    while len(chosen) < budget and eligible.any():
        rows = np.flatnonzero(eligible)
        choice = strategy(_remaining(pool, rows, chosen), budget - len(chosen), rng)
        notes = notes or tuple(note for note in choice.notes if "covers the whole pool" not in note)
        for row, score in zip(rows[choice.indices], choice.scores, strict=True):
            if not eligible[row]:
                continue
            chosen.append(int(row))
            scores.append(float(score))
            eligible[row] = False
            name = pool.predicted[row]
            counts[name] += 1
            if counts[name] == limits.per_class:
                eligible &= np.array([other != name for other in pool.predicted])
            if units is not None and cosine is not None:
                eligible &= ~_similar(units, units[row : row + 1], cosine)
    if len(chosen) < min(budget, len(pool)):
        notes = (*notes, f"the limits leave {len(chosen)} of {len(pool)} records to choose; the budget was {budget}")
    return Choice(np.array(chosen, dtype=np.int64), np.array(scores), notes)


def _remaining(pool: Pool, rows: np.ndarray, chosen: list[int]) -> Pool:
    """Return the pool of `rows`, the chosen records covered."""
    if pool.embeddings is None or not chosen:
        return pool.take(rows)
    return replace(pool.take(rows), covered=np.concatenate([pool.covered_embeddings(), pool.embeddings[chosen]]))


def _similar(units: np.ndarray, others: np.ndarray, threshold: float) -> np.ndarray:
    """Return which of `units` `(N, D)` have a cosine of `threshold` or more with any of `others` `(M, D)`: `(N,)`
    bool. NaN is similar to nothing."""
    similar = np.zeros(len(units), dtype=bool)
    for begin in range(0, len(others), _BLOCK):
        for row in range(0, len(units), _BLOCK):
            block = slice(row, row + _BLOCK)
            cosines = units[block] @ others[begin : begin + _BLOCK].T
            similar[block] |= (cosines >= threshold - _ROUNDING).any(axis=1)
    return similar
