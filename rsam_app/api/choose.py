"""Selection strategies as functions on arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rsam_app.selection.limits import Limits, choose_within
from rsam_app.selection.pool import pool_of_arrays
from rsam_app.selection.strategies import STRATEGIES, find_strategy
from rsam_app.system.errors import UserError


def strategies() -> dict[str, str]:
    """Names of the strategies, the default first, each with a line about what it chooses."""
    return {name: strategy.summary for name, strategy in STRATEGIES.items()}


def choose(
    strategy: str,
    budget: int,
    *,
    embeddings: np.ndarray | None = None,
    probabilities: np.ndarray | None = None,
    labels: Sequence[int] | np.ndarray | None = None,
    covered: np.ndarray | None = None,
    misattention: np.ndarray | None = None,
    per_class: int | None = None,
    near_duplicates: float | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Rows `(min(budget, N),)` int64 that a strategy chooses from N images, best first.

    Give what the strategy uses: `embeddings` `(N, D)`, `probabilities` `(N, C)`, given `labels` `(N,)` as columns of
    them (-1: none), `covered` `(M, D)` embeddings of images that have a label already, and the score `misattention`
    `(N,)`. `per_class` limits the images of one predicted class, `near_duplicates` the cosine of two embeddings.
    Raises `UserError` for an unknown strategy, missing or unequal arrays.
    """
    method = find_strategy(strategy)
    given = {"embeddings": embeddings, "probabilities": probabilities, "labels": labels, "misattention": misattention}
    lengths = {name: len(values) for name, values in given.items() if values is not None}
    if len(set(lengths.values())) != 1:
        what = ", ".join(f"{name} {count}" for name, count in lengths.items()) or "none was given"
        raise UserError(f"choose {method.name}: needs arrays of one length for the images to choose from ({what}).")
    embeds = method.needs_embeddings or near_duplicates is not None
    if embeddings is None and (embeds or (probabilities is None and method.needs_embeddings_unlabelled)):
        raise UserError(f"choose {method.name}: needs embeddings, an array (N, D).")
    if probabilities is None and not method.needs_embeddings and not method.needs_embeddings_unlabelled:
        raise UserError(f"choose {method.name}: needs probabilities, an array (N, C).")
    pool = pool_of_arrays(embeddings, probabilities, labels, covered, misattention)
    generator = np.random.default_rng(seed)
    return choose_within(method, pool, budget, generator, Limits(per_class, near_duplicates)).indices
