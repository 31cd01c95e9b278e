"""The table and the curves of `benchmarks/shortcut.py`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from rsam_app.evaluation.metrics.paired import half_width, paired_difference
from shortcuts.sets import PLAIN, SETS


def table(rows: list[dict[str, Any]], setting: str) -> str:
    """Means with 95 % intervals over seeds, and paired differences, as Markdown; `setting` says how it was trained."""
    cells: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        cells[row["backbone"], row["set"], row["method"]][row["seed"]] = row
    lines = [
        "# A reviewer's answers against a shortcut\n",
        f"Top-1 on test images; {setting}; mean ± half a 95 % interval over seeds.\n",
        "| backbone | set | method | answers take | usual | unusual | more than none | IoU | seeds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (backbone, name, method), found in sorted(cells.items()):
        if name in SETS:
            figures = [_figure(_by_seed(found, key)) for key in ("usual", "unusual")]
            more = _difference(found, cells[backbone, name, "none"], "unusual")
            answers = f"{next(iter(found.values()))['reviewer_seconds']} s"
            columns = [backbone, name, method, answers, *figures, more, _figure(_by_seed(found, "iou")), len(found)]
            lines.append(f"| {' | '.join(map(str, columns))} |")
    lines += [
        "\n# The same answers where there is no shortcut\n",
        "Photographs as they are; the differences are those to RSAM without answers.\n",
        "| backbone | set | method | top-1 | minus rsam | IoU | minus rsam | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (backbone, name, method), found in sorted(cells.items()):
        if name in PLAIN:
            untaught = cells[backbone, name, "rsam"]
            pairs = [
                f"{_figure(_by_seed(found, key))} | {_difference(found, untaught, key)}" for key in ("usual", "iou")
            ]
            lines.append(f"| {backbone} | {name} | {method} | {' | '.join(pairs)} | {len(found)} |")
    return "\n".join(lines) + "\n"


def _by_seed(found: dict[int, dict[str, Any]], key: str) -> dict[int, float]:
    return {seed: row[key] for seed, row in found.items() if key in row}


def _difference(found: dict[int, dict[str, Any]], other: dict[int, dict[str, Any]], key: str) -> str:
    gain = paired_difference(_by_seed(found, key), _by_seed(other, key))
    return f"{gain.mean:+.3f} ± {gain.high - gain.mean:.3f} (p = {gain.p:.1g})" if gain else "–"


def _figure(by_seed: dict[int, float]) -> str:
    values = np.array(list(by_seed.values()))
    if len(values) < 2:
        return "".join(f"{value:.3f}" for value in values) or "–"
    return f"{values.mean():.3f} ± {half_width(values):.3f}"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw accuracy on unusual backgrounds over the seconds of a reviewer's work, for each set, as PNG."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows if row["set"] in SETS]
    names, backbones = (sorted({row[key] for row in rows}) for key in ("set", "backbone"))
    size = (4 * len(names), 3.4 * len(backbones))
    figure, axes = pyplot.subplots(len(backbones), len(names), figsize=size, sharey=True, squeeze=False)
    for line, backbone in zip(axes, backbones, strict=True):
        for axis, name in zip(line, names, strict=True):
            _draw_panel(axis, [row for row in rows if (row["backbone"], row["set"]) == (backbone, name)])
            axis.set(title=f"{name}, {backbone}", xlabel="reviewer's seconds", ylim=(0, 1))
        line[0].set_ylabel("top-1, unusual backgrounds")
        line[-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_panel(axis: Any, rows: list[dict[str, Any]]) -> None:
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    plain = [row["unusual"] for row in rows if row["method"] == "none"]
    for row in rows:
        kind = row["method"].rpartition("-")[0] if row["method"][-1].isdigit() else row["method"]
        found[kind][row["reviewer_seconds"]].append(row["unusual"])
        if row["reviewer_seconds"]:
            found[kind][0] = plain
    for kind in sorted(found):
        points = sorted((seconds, float(np.mean(values))) for seconds, values in found[kind].items())
        if len(points) > 1:
            axis.plot(*zip(*points, strict=True), marker="o", label=kind)
        elif kind in ("afr", "ceiling"):
            axis.axhline(points[0][1], linestyle=":" if kind == "afr" else "--", color="grey", label=kind)
