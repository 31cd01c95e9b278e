"""Two variants under one recipe, compared cell by cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats


class Difference(NamedTuple):
    """Mean difference, its 95 % interval, and the two-sided p of a paired t-test over `n` cells."""

    mean: float
    low: float
    high: float
    p: float
    n: int


def paired_difference(first: dict[object, float], second: dict[object, float]) -> Difference | None:
    """`first` minus `second` over the cells (data set, seed) that both have; None with fewer than two."""
    shared = sorted(set(first) & set(second), key=str)
    if len(shared) < 2:
        return None
    differences = np.array([first[key] - second[key] for key in shared])
    mean, spread = float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))
    reach = float(stats.t.ppf(0.975, len(differences) - 1)) * spread
    p = float(stats.ttest_1samp(differences, 0.0).pvalue) if spread else float(mean == 0)
    return Difference(mean, mean - reach, mean + reach, p, len(differences))


def mean_interval(values: list[float]) -> tuple[float, float]:
    """The mean and half the width of its 95 % interval (0 for one value)."""
    array = np.array(values)
    if len(array) < 2:
        return float(array.mean()), 0.0
    return float(array.mean()), float(stats.t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / np.sqrt(len(array)))
