"""Selective classification: how accurate the most confident answers are (Geifman and El-Yaniv, NeurIPS 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rsam_app.evaluation.metrics.intervals import bootstrap_interval
from rsam_app.geometry.types import Floats, Integers

COVERAGES = (0.8, 0.9)
POINTS = 100
"""Points of the stored curve, at most."""


@dataclass(frozen=True)
class RiskCoverage:
    """Images sorted by confidence, the most confident first: `right` `(N,)` in [0, 1], the mean among images that are
    equally confident, so that their order does not count."""

    right: Floats

    @classmethod
    def of(cls, confidence: Floats, right: np.ndarray) -> RiskCoverage:
        """From confidences `(N,)`, and which predictions are right `(N,)`."""
        _, group = np.unique(-np.asarray(confidence), return_inverse=True)
        means = np.bincount(group, weights=right) / np.bincount(group)
        return cls(np.asarray(means[np.sort(group)]))

    def risk(self) -> Floats:
        """The share of wrong answers `(N,)` among the first i + 1 images: at the coverage (i + 1) / N."""
        return np.asarray(1 - self.right.cumsum() / np.arange(1, len(self.right) + 1))

    def area(self, rows: Integers | None = None) -> float:
        """AURC in [0, 1], 0 is best: the mean risk over all coverages. `rows` are resampled images, repeats allowed."""
        counts = self._counts(rows)
        answered, right = counts.cumsum(), (counts * self.right).cumsum()
        taken = counts > 0
        return float((counts[taken] * (1 - right[taken] / answered[taken])).sum() / answered[-1])

    def accuracy(self, coverage: float, rows: Integers | None = None) -> float:
        """Share of right answers among the most confident `coverage` of the images, rounded up to a whole one."""
        counts = self._counts(rows)
        answered = int(np.ceil(round(coverage * counts.sum(), 9)))
        before = np.minimum(counts.cumsum(), answered)
        return float((np.diff(before, prepend=0) * self.right).sum() / answered)

    def _counts(self, rows: Integers | None) -> Integers:
        size = len(self.right)
        return np.ones(size, dtype=np.int64) if rows is None else np.bincount(rows, minlength=size)


def selective_figures(confidence: Floats, right: np.ndarray) -> dict[str, Any]:
    """AURC, the accuracy at each of `COVERAGES` and the curve, for `metrics.json`; intervals are bootstrapped over
    images."""
    sorted_images, n = RiskCoverage.of(confidence, right), len(right)
    figures: dict[str, Any] = {
        "aurc": sorted_images.area(),
        "aurc_interval": bootstrap_interval(sorted_images.area, n),
    }
    for coverage in COVERAGES:
        key = f"accuracy_at_{coverage:.0%}".removesuffix("%")
        figures[key] = sorted_images.accuracy(coverage)
        figures[f"{key}_interval"] = bootstrap_interval(partial(sorted_images.accuracy, coverage), n)
    risk = sorted_images.risk()
    places = np.unique(np.ceil(np.linspace(1, n, min(n, POINTS))).astype(np.int64)) - 1
    figures["curve"] = [{"coverage": (i + 1) / n, "risk": risk[i]} for i in places]
    return figures
