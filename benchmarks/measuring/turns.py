"""Timing of alternating variants, so that noise of the machine affects all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

WARM_UP = 2


def take_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each variant in each of `rounds` rounds, after `WARM_UP` rounds that do not count. Every other round
    runs in reverse order, so that none profits from its position."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + WARM_UP):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            begun = time.perf_counter()
            ways[name]()
            if turn >= WARM_UP:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def ratio(taken: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """Median and quartiles over rounds of one variant's time divided by another's in the same round."""
    ratios = np.array(taken) / np.array(base)
    low, high = np.quantile(ratios, [0.25, 0.75])
    return {"ratio": float(np.median(ratios)), "quartile_low": float(low), "quartile_high": float(high)}
