"""Not too many of one class, and no near-duplicates: limits that hold for every strategy's choice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rsam_app.selection.embeddings import directions
from rsam_app.selection.pool import Pool
from rsam_app.selection.strategy import Choice, Strategy
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class Limits:
    """What a choice may not exceed; None for no limit."""

    per_class: int | None = None
    """Most records of one predicted class."""
    near_duplicates: float | None = None
    """Cosine similarity of embeddings from which on two records count as one; also to records reviewed before."""

    def __bool__(self) -> bool:
        return self.per_class is not None or self.near_duplicates is not None

    def check(self) -> None:
        """Raise `UserError` for a limit that makes no sense."""
        if self.per_class is not None and self.per_class < 1:
            raise UserError(f"select: per_class is {self.per_class}, expected at least 1.")
        if self.near_duplicates is not None and not 0 < self.near_duplicates <= 1:
            raise UserError(
                f"select: near_duplicates is {self.near_duplicates:g}, expected a cosine in (0, 1], e.g. .95."
            )


def choose_within(strategy: Strategy, pool: Pool, budget: int, rng: np.random.Generator, limits: Limits) -> Choice:
    """What `strategy` chooses so that `limits` hold: what breaks one is left out, and others are chosen in its place.

    Each further choice counts the earlier as covered. Fewer than `budget` records where the limits leave no more; a
    note says so. Raises `UserError` as the strategy does; near-duplicates need a pool with embeddings.
    """
    limits.check()
    if not limits or not len(pool) or budget < 1:
        return strategy(pool, budget, rng)
    units, seen = None, None
    if limits.near_duplicates is not None:
        if pool.embeddings is None:
            raise ValueError("near-duplicates are told by embeddings, and the pool has none")
        units = directions(pool.embeddings)
        seen = None if pool.covered is None else directions(pool.covered)
    open_rows = np.ones(len(pool), dtype=bool)
    if seen is not None and units is not None:
        open_rows &= ~_similar(units, seen, float(limits.near_duplicates or 1))
    kept: list[int] = []
    scores: list[float] = []
    counts: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    while len(kept) < budget and open_rows.any():
        rows = np.flatnonzero(open_rows)
        choice = strategy(_rest(pool, rows, kept), budget - len(kept), rng)
        notes = notes or tuple(note for note in choice.notes if "covers the whole pool" not in note)
        for row, score in zip(rows[choice.indices], choice.scores, strict=True):
            if not open_rows[row]:
                continue
            kept.append(int(row))
            scores.append(float(score))
            open_rows[row] = False
            name = pool.predicted[row]
            counts[name] = counts.get(name, 0) + 1
            if counts[name] == limits.per_class:
                open_rows &= np.array([other != name for other in pool.predicted])
            if units is not None:
                open_rows &= ~_similar(units, units[row : row + 1], float(limits.near_duplicates or 1))
    if len(kept) < min(budget, len(pool)):
        notes = (*notes, f"the limits leave {len(kept)} of {len(pool)} records to choose; {budget} were asked for")
    return Choice(np.array(kept, dtype=np.int64), np.array(scores), notes)


def _rest(pool: Pool, rows: np.ndarray, kept: list[int]) -> Pool:
    rest = pool.take(rows)
    if pool.embeddings is None or not kept:
        return rest
    before = [pool.covered] if pool.covered is not None and len(pool.covered) else []
    return replace(rest, covered=np.concatenate([*before, pool.embeddings[kept]]))


def _similar(units: np.ndarray, to: np.ndarray, least: float) -> np.ndarray:
    """Which of `units` `(N, D)` have a cosine of `least` or more to one `to` `(M, D)`: `(N,)`; NaN is to none."""
    found = np.zeros(len(units), dtype=bool)
    for begin in range(0, len(to), _BLOCK):
        for row in range(0, len(units), _BLOCK):
            block = slice(row, row + _BLOCK)
            cosines = units[block] @ to[begin : begin + _BLOCK].T
            found[block] |= (cosines >= least - _ROUNDING).any(axis=1)
    return found


_BLOCK, _ROUNDING = 2048, 1e-6
