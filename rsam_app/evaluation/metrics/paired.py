"""Means with confidence intervals, and paired comparisons of two variants or two runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from scipy import stats

Cell = TypeVar("Cell")


class Difference(NamedTuple):
    """Mean difference, its 95 % interval, and the two-sided p of a paired t-test over `n` cells."""

    mean: float
    low: float
    high: float
    p: float
    n: int


def paired_difference(first: Mapping[Cell, float], second: Mapping[Cell, float]) -> Difference | None:
    """`first` minus `second` over the cells (e.g. seeds) that both have; None with fewer than two."""
    shared = sorted(set(first) & set(second), key=str)
    if len(shared) < 2:
        return None
    differences = np.array([first[key] - second[key] for key in shared])
    mean, reach = float(differences.mean()), half_width(differences)
    constant = bool(np.ptp(differences) == 0)
    p = float(mean == 0) if constant else float(stats.ttest_1samp(differences, 0.0).pvalue)
    return Difference(mean, mean - reach, mean + reach, p, len(differences))


def mcnemar(fixed: int, broken: int) -> float:
    """Two-sided p of the exact test of McNemar (1947) that a changed image is as likely `fixed` (wrong before, right
    now) as `broken`; 1 if no image changed."""
    changed = fixed + broken
    return float(stats.binomtest(fixed, changed).pvalue) if changed else 1.0


def half_width(values: np.ndarray) -> float:
    """Half of the 95 % interval of the mean of `values` `(n,)` (Student's t); 0 for one value."""
    if len(values) < 2:
        return 0.0
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
