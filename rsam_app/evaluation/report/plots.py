"""Plots of the report, each for a light and for a dark page."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

from rsam_app.geometry.types import Floats, Integers


@dataclass(frozen=True)
class Theme:
    """Colours of a page: text, grid, and the series in their order."""

    ink: str
    faint: str
    series: tuple[str, ...]


LIGHT = Theme(ink="#3d4450", faint="#d9dde3", series=("#2563c9", "#d9730d", "#16836b", "#8a4fbf"))
DARK = Theme(ink="#b6bec9", faint="#3a414c", series=("#6ea3ff", "#f2a154", "#4fc2a5", "#c79af0"))

LOSSES, SHARES = ("loss", "nll"), ("top1", "top5", "accuracy", "iou", "ece")


@dataclass(frozen=True)
class Plot:
    """One plot as PNG, for light and for dark pages, transparent; `light_solid` has a white background."""

    light: bytes
    dark: bytes
    light_solid: bytes


def training_curves(epochs: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Plot `metrics.jsonl` over the epochs: one panel each for losses, shares, learning rate and time.

    None if no line has an epoch and a number.
    """
    series = _series(epochs)
    losses = [name for name in series if any(part in name for part in LOSSES)]
    shares = [name for name in series if name not in losses and any(part in name for part in SHARES)]
    groups = {"losses": losses, "shares": shares, "learning rate": ["learning_rate"], "seconds": ["seconds"]}
    panels = {title: names for title, names in groups.items() if all(name in series for name in names) and names}
    if not panels:
        return None

    def draw(figure: Figure, theme: Theme) -> None:
        for column, (title, names) in enumerate(panels.items()):
            axes = figure.add_subplot(1, len(panels), column + 1)
            for number, name in enumerate(names):
                colour = theme.series[number % len(theme.series)]
                axes.plot(*series[name], color=colour, marker="o", markersize=2.5, linewidth=1.4, label=_words(name))
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            _scale(axes, title)
            _finish(axes, theme, title=_words(names[0]) if len(names) == 1 else title)
            if len(names) > 1:
                axes.legend(frameon=False, labelcolor=theme.ink, fontsize=8)

    return _draw_plot(draw, width=max(4.0, 2.6 * len(panels)), height=2.4)


def _series(epochs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[float], list[float]]]:
    """Epochs and values of every key with at least one number."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    for line in epochs:
        epoch = line.get("epoch")
        for name, value in line.items():
            if name != "epoch" and _is_number(epoch) and _is_number(value):
                x, y = series.setdefault(name, ([], []))
                x.append(float(line["epoch"]))
                y.append(float(value))
    return series


def _scale(axes: Axes, title: str) -> None:
    if title == "shares":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        return
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low) if title == "losses" else 0.0, high + 0.05 * abs(high))
    if title == "learning rate":
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axes.yaxis.get_offset_text().set(fontsize=7, color="#888888")


def reliability_diagram(bins: Sequence[Mapping[str, Any]]) -> Plot:
    """Plot accuracy against confidence per bin, above the number of images in each bin."""

    def draw(figure: Figure, theme: Theme) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        left = np.array([b["low"] for b in bins])
        width = np.array([b["high"] for b in bins]) - left
        filled = [i for i, b in enumerate(bins) if b["n"]]
        accuracy = np.array([bins[i]["accuracy"] for i in filled])
        confidence = np.array([bins[i]["confidence"] for i in filled])
        upper.bar(left[filled], accuracy, width[filled] * 0.92, align="edge", color=theme.series[0], alpha=0.85)
        upper.plot(confidence, accuracy, "o", color=theme.ink, markersize=3, label="mean confidence of the bin")
        upper.plot([0, 1], [0, 1], "--", color=theme.ink, linewidth=1, label="perfect calibration")
        upper.set_ylim(0, 1)
        upper.set_ylabel("accuracy")
        _legend_above(upper, theme)
        lower.bar(left, [b["n"] for b in bins], width * 0.92, align="edge", color=theme.series[1], alpha=0.85)
        lower.set_ylabel("images")
        lower.set_xlabel("confidence")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        lower.set_xlim(0, 1)
        for axes in (upper, lower):
            axes.xaxis.set_major_formatter(PercentFormatter(1.0))
            _finish(axes, theme)
        upper.yaxis.set_major_formatter(PercentFormatter(1.0))

    return _draw_plot(draw, width=4.8, height=4.2)


def risk_coverage_curve(curve: Sequence[Mapping[str, float]]) -> Plot:
    """Plot the share of wrong answers among the most confident ones over their share of all images."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.add_subplot()
        coverage, risk = ([point[key] for point in curve] for key in ("coverage", "risk"))
        axes.plot(coverage, risk, color=theme.series[0], linewidth=1.6)
        axes.axhline(risk[-1], color=theme.ink, linestyle="--", linewidth=1, label="if confidence told nothing")
        axes.set_xlabel("images answered, most confident first")
        axes.set_ylabel("wrong answers among them")
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        _legend_above(axes, theme)
        _finish(axes, theme)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))

    return _draw_plot(draw, width=4.8, height=3.2)


def confusion_plot(counts: Integers) -> Plot:
    """Plot a confusion matrix `(C, C)`, each row (labelled class) as shares of the predicted classes.

    Without names: no font covers every script, and many classes leave no room for them.
    """

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.add_subplot()
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        colours = ListedColormap([(*to_rgb(theme.series[0]), strength) for strength in np.linspace(0, 1, 256) ** 0.7])
        axes.imshow(share, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        axes.set_xlabel("predicted class")
        axes.set_ylabel("labelled class")
        _finish(axes, theme)
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(True)

    return _draw_plot(draw, width=4.2, height=4.2)


def iou_histogram(ious: Floats, centre_box_ious: Floats | None) -> Plot:
    """Plot the distribution of the rectangles' IoUs, beside that of the fixed centre box."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.add_subplot()
        edges = [i / 20 for i in range(21)]
        axes.hist(ious, edges, color=theme.series[0], alpha=0.85, label=f"rectangle, mean {ious.mean():.2f}")
        if centre_box_ious is not None:
            label = f"centre box, mean {centre_box_ious.mean():.2f}"
            axes.hist(centre_box_ious, edges, histtype="step", color=theme.series[1], linewidth=1.8, label=label)
        axes.axvline(0.5, color=theme.ink, linestyle="--", linewidth=1)
        axes.set_xlim(0, 1)
        axes.set_xlabel("IoU with the object")
        axes.set_ylabel("images")
        axes.legend(frameon=False, labelcolor=theme.ink, fontsize=8)
        _finish(axes, theme)

    return _draw_plot(draw, width=4.8, height=3.2)


def iou_scatter(first: Floats, second: Floats) -> Plot:
    """Plot each image's IoU with the object in the second run over that in the first; both `(N,)`."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], "--", color=theme.ink, linewidth=1)
        axes.scatter(first, second, s=14, color=theme.series[0], alpha=0.6, linewidths=0)
        axes.plot(first.mean(), second.mean(), "D", color=theme.series[1], markersize=7, label="means")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_aspect("equal")
        axes.set_xlabel("IoU with the object, first run")
        axes.set_ylabel("second run")
        _legend_above(axes, theme)
        _finish(axes, theme)

    return _draw_plot(draw, width=4.2, height=4.2)


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
        _legend_above(axes, theme)
        _finish(axes, theme)

    return _draw_plot(draw, width=4.8, height=3.2)


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
        _legend_above(axes, theme)
        _finish(axes, theme)

    return _draw_plot(draw, width=4.8, height=3.2)


def _draw_plot(draw: Callable[[Figure, Theme], None], width: float, height: float) -> Plot:
    """Render what `draw` puts on a figure of this size, in inches, for every page."""

    def png(theme: Theme) -> bytes:
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0.0)
        draw(figure, theme)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=160, metadata={"Software": None})
        return stream.getvalue()

    light = png(LIGHT)
    return Plot(light=light, dark=png(DARK), light_solid=_on_white(light))


def _on_white(png: bytes) -> bytes:
    """The picture on white: to draw it again takes five times as long."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        solid = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        solid.save(stream, "png", dpi=image.info["dpi"])
    return stream.getvalue()


def _finish(axes: Axes, theme: Theme, title: str = "") -> None:
    """Style axes like the page: light grid, no frame, the theme's colours."""
    axes.set_title(title, color=theme.ink, fontsize=9)
    axes.patch.set_alpha(0.0)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=theme.faint, linewidth=0.7)
    axes.tick_params(colors=theme.ink, labelsize=8, length=0)
    axes.xaxis.label.set(color=theme.ink, fontsize=9)
    axes.yaxis.label.set(color=theme.ink, fontsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.faint)


def _legend_above(axes: Axes, theme: Theme) -> None:
    """Put the legend above the axes; inside, it would cover bars."""
    axes.legend(frameon=False, labelcolor=theme.ink, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)


def _words(name: str) -> str:
    return name.replace("_", " ").replace("val ", "validation ").replace("top1", "top-1").replace("nll", "NLL")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))
