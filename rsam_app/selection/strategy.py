"""The interface of a selection strategy, and ranking by a score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class Choice:
    """Rows of the pool that a strategy picked, best first, each at most once, and their scores.

    `indices` is `(B,)` int64. `scores` is `(B,)` float64, larger is better; NaN for a record without a score.
    """

    indices: np.ndarray
    scores: np.ndarray
    notes: tuple[str, ...] = ()


Pick = Callable[[Pool, int, np.random.Generator], Choice]
Explain = Callable[[Pool, np.ndarray, np.ndarray], list[str]]


@dataclass(frozen=True)
class Strategy:
    """A method of choosing `budget` records of a pool. Calling it checks the input and picks.

    The same pool, budget and generator state give the same choice.
    """

    name: str
    summary: str
    """One line: what it chooses, and when to prefer it to similar strategies."""
    source: str
    """The paper it comes from, or `ours`."""
    pick: Pick
    explain: Explain
    """Reasons for scored rows (indices, scores). Call `reasons` instead, which handles rows without a score."""
    needs_embeddings: bool = False
    needs_embeddings_unlabelled: bool = False
    """Whether it uses embeddings if no record has a label that the model knows."""

    def __call__(self, pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
        """Pick `min(budget, N)` rows. Raises `UserError` for an empty pool, a budget below 1, or missing columns."""
        if len(pool) == 0:
            raise UserError(f"select {self.name}: the pool is empty. Choose another split, or exclude fewer records.")
        if budget < 1:
            raise UserError(f"select {self.name}: budget is {budget}, expected at least 1.")
        choice = self.pick(pool, min(budget, len(pool)), rng)
        if budget < len(pool):
            return choice
        note = f"the budget of {budget} covers the whole pool: all {len(pool)} records were chosen"
        return Choice(choice.indices, choice.scores, (*choice.notes, note))

    def reasons(self, pool: Pool, choice: Choice) -> list[str]:
        """Return the reason for each chosen record, in plain words."""
        scored = ~np.isnan(choice.scores)
        explained = iter(self.explain(pool, choice.indices[scored], choice.scores[scored]))
        return [next(explained) if has_score else "no score: chosen to fill the budget" for has_score in scored]


def rank(scores: np.ndarray, budget: int, rng: np.random.Generator) -> Choice:
    """Choose the `budget` largest of `scores` `(N,)`, best first; ties in seeded random order, NaN last and counted."""
    shuffle = rng.permutation(len(scores))
    missing = np.isnan(scores)
    order = np.lexsort((shuffle, -np.where(missing, -np.inf, scores), missing))[:budget].astype(np.int64)
    notes = _missing_note(int(missing.sum()), len(scores), int(missing[order].sum()))
    return Choice(order, scores[order].astype(np.float64), notes)


def by_score(scores: Callable[[Pool], np.ndarray]) -> Pick:
    """Return a `Pick` that ranks by a score `(N,)` of each record alone, larger first."""
    return lambda pool, budget, rng: rank(scores(pool), budget, rng)


def missing_last(
    chosen: np.ndarray, scores: np.ndarray, usable: np.ndarray, pool: Pool, budget: int, rng: np.random.Generator
) -> Choice:
    """Fill a choice among the `usable` rows of a pool up to `budget` with the other rows, in random order.

    The others (their embedding or a probability is not finite) get the score NaN and are counted.
    """
    others = rng.permutation(np.setdiff1d(np.arange(len(pool)), usable))
    filled = others[: max(0, budget - len(chosen))]
    indices = np.concatenate([chosen, filled]).astype(np.int64)
    notes = _missing_note(len(others), len(pool), len(filled))
    return Choice(indices, np.concatenate([scores, np.full(len(filled), np.nan)]), notes)


def _missing_note(missing: int, total: int, chosen: int) -> tuple[str, ...]:
    return (f"{missing} of {total} records have no score and rank last ({chosen} chosen)",) if missing else ()


def percentile_ranks(scores: np.ndarray) -> np.ndarray:
    """Return the share of the other scored records that each of `scores` `(N,)` exceeds, ties counted half: `(N,)` in
    [0, 1].

    NaN stays NaN. A single scored record gets 1.
    """
    from scipy.stats import rankdata

    ranks = np.full(len(scores), np.nan)
    present = ~np.isnan(scores)
    count = int(present.sum())
    ranks[present] = (rankdata(scores[present]) - 1) / (count - 1) if count > 1 else 1.0
    return ranks
