"""Plots of the report on stability and corruptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from rsam_app.evaluation.report.plots import Plot, Theme, draw_plot, finish, legend_above


def stability_bars(by_transform: Mapping[str, Mapping[str, float]]) -> Plot:
    """Plot the rectangle's rotated IoU with itself under each transform, with marks for a fixed rectangle."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.add_subplot()
        names = list(by_transform)
        position = np.arange(len(names))
        model, fixed = ([by_transform[n][key] for n in names] for key in ("rotated_iou", "fixed_rotated_iou"))
        axes.bar(position, model, width=0.62, color=theme.series[0], alpha=0.85, label="rectangle")
        axes.hlines(fixed, position - 0.4, position + 0.4, color=theme.series[1], linewidth=2, label="fixed rectangle")
        axes.set_xticks(position, [n.replace("rotate_", "turn ").replace("_", " ") for n in names])
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("rotated IoU with itself")
        legend_above(axes, theme)
        finish(axes, theme)

    return draw_plot(draw, width=4.8, height=3.2)


def corruption_curves(corruptions: Mapping[str, Any]) -> Plot:
    """Plot accuracy, and with attention the rectangle's IoU with the clean one, over the severity: bold the mean, faint
    each corruption."""
    severities = [0, *corruptions["severities"]]
    entries = list(corruptions["by_corruption"].values())
    series = [("top1", "top-1", corruptions["clean_top1"])]
    if "rotated_iou" in corruptions:
        series.append(("rotated_iou", "rectangle's IoU with the clean one", 1.0))

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.add_subplot()
        for (key, label, clean), colour in zip(series, theme.series, strict=False):
            values = np.array([[clean, *entry[f"{key}_by_severity"]] for entry in entries])
            axes.plot(severities, values.T, color=colour, linewidth=0.7, alpha=0.3)
            axes.plot(severities, values.mean(axis=0), color=colour, linewidth=2, marker="o", markersize=4, label=label)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("severity")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        legend_above(axes, theme)
        finish(axes, theme)

    return draw_plot(draw, width=4.8, height=3.2)
