"""What simulated curves say: means with intervals, labels to a target, area under the curve, paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rsam_app.paired import half_width, paired_difference

Curves = Mapping[str, Mapping[int, Sequence[float]]]
"""Accuracy after each round, by strategy and seed."""

TARGET = 0.9
"""Share of the accuracy with all labels that the labels-to-target table asks for."""


def summarise(curves: Curves, labels: Sequence[int], full: Mapping[int, float]) -> dict[str, Any]:
    """Figures per strategy over its seeds; `labels` are the labels known at each point, `full` the accuracy with all.

    `area`: the mean accuracy over the points, with the half-width of its 95 % interval. `labels_to_target`: labels
    at which the mean curve reaches `TARGET` of the full accuracy, None where it does not. `minus_random`: the
    difference in area, paired by seed, its interval and the p of a t-test; `minus_others` those from every other
    strategy. `share_of_best`: the smallest ratio over the points of the mean accuracy to that of the best strategy
    there.
    """
    means = {name: _points(by_seed).mean(axis=0) for name, by_seed in curves.items()}
    best = np.max(list(means.values()), axis=0)
    target = TARGET * float(np.mean(list(full.values())))
    strategies = {}
    for name, by_seed in curves.items():
        points = _points(by_seed)
        areas = points.mean(axis=1)
        strategies[name] = {
            "seeds": len(points),
            "area": float(areas.mean()),
            "area_interval": half_width(areas),
            "accuracy": means[name].tolist(),
            "interval": [half_width(column) for column in points.T],
            "labels_to_target": labels_to(means[name], labels, target),
            "share_of_best": float((means[name] / np.maximum(best, 1e-12)).min()),
            "minus_random": paired_areas(by_seed, curves["random"])
            if name != "random" and "random" in curves
            else None,
            "minus_others": {other: paired_areas(by_seed, curves[other]) for other in curves if other != name},
        }
    return {
        "labels": list(labels),
        "full_accuracy": float(np.mean(list(full.values()))),
        "target": target,
        "strategies": strategies,
    }


def labels_to(accuracy: np.ndarray, labels: Sequence[int], target: float) -> float | None:
    """Labels at which the curve first reaches `target`, between points by straight lines; None where it does not."""
    reached = np.flatnonzero(accuracy >= target)
    if not len(reached):
        return None
    after = int(reached[0])
    if after == 0:
        return float(labels[0])
    share = (target - accuracy[after - 1]) / (accuracy[after] - accuracy[after - 1])
    return float(labels[after - 1] + share * (labels[after] - labels[after - 1]))


def paired_areas(first: Mapping[int, Sequence[float]], second: Mapping[int, Sequence[float]]) -> dict[str, Any] | None:
    """`first` minus `second` in area over the seeds both have: mean, 95 % interval, two-sided p; None below two."""
    found = paired_difference(
        *({seed: float(np.mean(curve)) for seed, curve in side.items()} for side in (first, second))
    )
    return None if found is None else found._asdict()


def _points(by_seed: Mapping[int, Sequence[float]]) -> np.ndarray:
    return np.array([by_seed[seed] for seed in sorted(by_seed)])
