"""Summary of simulated curves: means with intervals, labels to a target, area, paired tests; as files and a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsam_app.evaluation.metrics.paired import half_width, paired_difference
from rsam_app.system.files import write_atomically

Curves = Mapping[str, Mapping[int, Sequence[float]]]
"""Accuracy after each round, by strategy and seed."""

TARGET = 0.9
"""Target accuracy, as a share of that with all labels."""


def summarise(curves: Curves, labels: Sequence[int], full: Mapping[int, float]) -> dict[str, Any]:
    """Return figures per strategy over its seeds; `labels` `(points,)` counts labels, `full` is the accuracy with all.

    `area`: mean accuracy over the points, with the half-width of its 95 % interval. `labels_to_target`: labels at which
    the mean curve reaches `TARGET` of the full accuracy, None if it does not. `minus_random`: difference in area from
    `random`, paired by seed, with interval and p of a t-test; `minus_others`: the same from every other strategy.
    `share_of_best`: smallest ratio over the points of the mean accuracy to that of the best strategy there.
    """
    means = {name: _points(by_seed).mean(axis=0) for name, by_seed in curves.items()}
    best = np.max(list(means.values()), axis=0)
    target = TARGET * float(np.mean(list(full.values())))
    strategies = {}
    for name, by_seed in curves.items():
        points = _points(by_seed)
        areas = points.mean(axis=1)
        others = {other: paired_areas(by_seed, curves[other]) for other in curves if other != name}
        strategies[name] = {
            "seeds": len(points),
            "area": float(areas.mean()),
            "area_interval": half_width(areas),
            "accuracy": means[name].tolist(),
            "interval": [half_width(column) for column in points.T],
            "labels_to_target": labels_to(means[name], labels, target),
            "share_of_best": float((means[name] / np.maximum(best, 1e-12)).min()),
            "minus_random": others.get("random"),
            "minus_others": others,
        }
    return {
        "labels": list(labels),
        "full_accuracy": float(np.mean(list(full.values()))),
        "target": target,
        "strategies": strategies,
    }


def labels_to(accuracy: np.ndarray, labels: Sequence[int], target: float) -> float | None:
    """Return the labels at which the curve first reaches `target`, by linear interpolation; None if it does not."""
    reached = np.flatnonzero(accuracy >= target)
    if not len(reached):
        return None
    after = int(reached[0])
    if after == 0:
        return float(labels[0])
    share = (target - accuracy[after - 1]) / (accuracy[after] - accuracy[after - 1])
    return float(labels[after - 1] + share * (labels[after] - labels[after - 1]))


def paired_areas(first: Mapping[int, Sequence[float]], second: Mapping[int, Sequence[float]]) -> dict[str, Any] | None:
    """Return `first` minus `second` in area over their common seeds: mean, 95 % interval, two-sided p; None if they
    have fewer than two."""
    areas = ({seed: float(np.mean(curve)) for seed, curve in side.items()} for side in (first, second))
    difference = paired_difference(*areas)
    return None if difference is None else difference._asdict()


def _points(by_seed: Mapping[int, Sequence[float]]) -> np.ndarray:
    return np.array([by_seed[seed] for seed in sorted(by_seed)])


def summary_table(summary: dict[str, Any]) -> str:
    """Return the summary for a terminal: a line per strategy, best first."""
    lines = [
        f"{'strategy':18} {'mean accuracy':>16} {'labels to 90 %':>15} {'minus random':>24} {'suggested right':>16}"
    ]
    for name, figures in _best_first(summary):
        area = f"{figures['area']:.3f} ± {figures['area_interval']:.3f}"
        labels, difference = figures["labels_to_target"], figures["minus_random"]
        reached = "not reached" if labels is None else f"{labels:.0f}"
        gain = "" if difference is None else f"{difference['mean']:+.3f} (p = {difference['p']:.2g})"
        right = f"{100 * figures['suggested'][-1]:.0f} %"
        lines.append(f"{name:18} {area:>16} {reached:>15} {gain:>24} {right:>16}")
    lines.append(f"accuracy with all labels: {summary['full_accuracy']:.3f}")
    return "\n".join(lines)


def write_summary(folder: Path, summary: dict[str, Any], title: str) -> None:
    """Write `curves.csv`, `summary.json` and `curves.png` into `folder`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["strategy", "labels", "accuracy", "low", "high", "seeds"])
    for name, figures in summary["strategies"].items():
        for labels, mean, reach in zip(summary["labels"], figures["accuracy"], figures["interval"], strict=True):
            values = (f"{value:.5f}" for value in (mean, mean - reach, mean + reach))
            writer.writerow([name, labels, *values, figures["seeds"]])
    write_atomically(folder / "curves.csv", text.getvalue())
    write_atomically(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_atomically(folder / "curves.png", draw_curves(summary, title))


def draw_curves(summary: Mapping[str, Any], title: str) -> bytes:
    """Return a PNG of the curves: mean test accuracy over labels, each with its 95 % interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    labels = summary["labels"]
    for number, (name, figures) in enumerate(_best_first(summary)):
        mean, reach = np.array(figures["accuracy"]), np.array(figures["interval"])
        style = "--" if name == "random" else "-"
        colour = f"C{number % 10}"
        axes.plot(labels, mean, style, color=colour, marker="o", markersize=3, label=f"{name} ({figures['area']:.3f})")
        axes.fill_between(labels, mean - reach, mean + reach, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(summary["target"], color="grey", linewidth=0.8, linestyle=":")
    axes.annotate("90 % of all labels", (labels[0], summary["target"]), fontsize=8, color="grey", va="bottom")
    axes.set(xlabel="labels", ylabel="test accuracy", title=title)
    axes.legend(frameon=False, fontsize=8, title="strategy (mean accuracy)", title_fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130)
    return out.getvalue()


def _best_first(summary: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(summary["strategies"].items(), key=lambda item: -item[1]["area"])
