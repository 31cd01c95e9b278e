"""What simulated curves say: means with intervals, labels to a target, area under the curve, paired tests."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rsam_app.evaluation.metrics.paired import half_width, paired_difference

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


def draw_curves(summary: Mapping[str, Any], title: str) -> bytes:
    """PNG of a summary's curves: mean test accuracy over labels, each with its 95 % interval."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    labels = summary["labels"]
    ordered = sorted(summary["strategies"].items(), key=lambda item: -item[1]["area"])
    for number, (name, found) in enumerate(ordered):
        mean, reach = np.array(found["accuracy"]), np.array(found["interval"])
        style = "--" if name == "random" else "-"
        colour = f"C{number % 10}"
        axes.plot(labels, mean, style, color=colour, marker="o", markersize=3, label=f"{name} ({found['area']:.3f})")
        axes.fill_between(labels, mean - reach, mean + reach, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(summary["target"], color="grey", linewidth=0.8, linestyle=":")
    axes.annotate("90 % of all labels", (labels[0], summary["target"]), fontsize=8, color="grey", va="bottom")
    axes.set(xlabel="labels", ylabel="test accuracy", title=title)
    axes.legend(frameon=False, fontsize=8, title="strategy (mean accuracy)", title_fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130)
    return out.getvalue()
