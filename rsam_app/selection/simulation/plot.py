"""Simulated curves as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure


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
