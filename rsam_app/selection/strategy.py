"""What a strategy is: a name, a source, a way to pick and a way to say why; and the one way to rank by a score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rsam_app.selection.pool import Pool
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class Choice:
    """What a strategy picked: rows of the pool, best first, each at most once, and the score it went by.

    `indices` is `(B,)` int64. `scores` is `(B,)` float64, larger is more wanted; NaN where a record has no score.
    """

    indices: np.ndarray
    scores: np.ndarray
    notes: tuple[str, ...] = ()


Pick = Callable[[Pool, int, np.random.Generator], Choice]
Explain = Callable[[Pool, np.ndarray, np.ndarray], list[str]]


@dataclass(frozen=True)
class Strategy:
    """A way to choose `budget` records of a pool. Called, it checks the input and picks.

    The same pool, budget and generator state give the same choice.
    """

    name: str
    summary: str
    """One line: what it chooses and when to use it rather than its neighbour."""
    source: str
    """The paper it comes from, or `ours`."""
    pick: Pick
    explain: Explain
    """Why each of some scored rows (indices, scores) was chosen; call `reasons`, which knows rows without a score."""
    needs_embeddings: bool = False
    needs_embeddings_unlabelled: bool = False
    """Whether it looks at embeddings where no record has a label that the model knows."""

    def __call__(self, pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
        """Pick `min(budget, N)` rows. Raises `UserError` for an empty pool, a budget below 1, or missing columns."""
        if len(pool) == 0:
            raise UserError(f"select {self.name}: the pool is empty. Choose another split, or exclude fewer records.")
        if budget < 1:
            raise UserError(f"select {self.name}: budget is {budget}, expected at least 1.")
        if self.needs_embeddings and pool.embeddings is None:
            raise ValueError(f"strategy {self.name} needs a pool with embeddings")
        choice = self.pick(pool, min(budget, len(pool)), rng)
        if budget < len(pool):
            return choice
        note = f"the budget of {budget} covers the whole pool: all {len(pool)} records were chosen"
        return Choice(choice.indices, choice.scores, (*choice.notes, note))

    def reasons(self, pool: Pool, choice: Choice) -> list[str]:
        """Why each record of `choice` was chosen, in plain words."""
        scored = ~np.isnan(choice.scores)
        explained = iter(self.explain(pool, choice.indices[scored], choice.scores[scored]))
        return [next(explained) if known else "no score: chosen because the budget reaches it" for known in scored]


def rank(scores: np.ndarray, budget: int, rng: np.random.Generator) -> Choice:
    """The `budget` largest of `scores` `(N,)`, best first; ties in seeded random order, NaN last and counted."""
    shuffle = rng.permutation(len(scores))
    missing = np.isnan(scores)
    order = np.lexsort((shuffle, -np.where(missing, -np.inf, scores), missing))[:budget].astype(np.int64)
    notes = []
    if missing.any():
        chosen = int(missing[order].sum())
        notes.append(f"{int(missing.sum())} of {len(scores)} records have no score and rank last ({chosen} chosen)")
    return Choice(order, scores[order].astype(np.float64), tuple(notes))


def by_score(scores: Callable[[Pool], np.ndarray]) -> Pick:
    """A way to pick that ranks by a score `(N,)` of each record alone, larger first."""

    def pick(pool: Pool, budget: int, rng: np.random.Generator) -> Choice:
        return rank(scores(pool), budget, rng)

    return pick


def missing_last(
    chosen: np.ndarray, scores: np.ndarray, usable: np.ndarray, pool: Pool, budget: int, rng: np.random.Generator
) -> Choice:
    """A choice among the `usable` rows of a pool, filled up to `budget` with the other rows in random order.

    Those that are not usable (an embedding or a probability is not finite) get the score NaN, and are counted.
    """
    others = rng.permutation(np.setdiff1d(np.arange(len(pool)), usable))
    filled = others[: max(0, budget - len(chosen))]
    notes = []
    if len(others):
        notes.append(f"{len(others)} of {len(pool)} records have no score and rank last ({len(filled)} chosen)")
    indices = np.concatenate([chosen, filled]).astype(np.int64)
    return Choice(indices, np.concatenate([scores, np.full(len(filled), np.nan)]), tuple(notes))


def percentile_ranks(scores: np.ndarray) -> np.ndarray:
    """Share of the other scored records that each of `scores` `(N,)` exceeds, ties counted half: `(N,)` in [0, 1].

    NaN stays NaN. A record that is scored alone gets 1.
    """
    ranks = np.full(len(scores), np.nan)
    present = ~np.isnan(scores)
    n = int(present.sum())
    if n == 0:
        return ranks
    _, inverse, counts = np.unique(scores[present], return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    ranks[present] = (below + (counts - 1) / 2)[inverse] / (n - 1) if n > 1 else 1.0
    return ranks
