"""`comparison.html`: two runs side by side, a self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsam_app.evaluation.metrics.comparison import CHANGES, MOVED
from rsam_app.evaluation.metrics.prediction_arrays import PredictionArrays
from rsam_app.evaluation.report import comparison_lines, plots
from rsam_app.evaluation.report.gallery import Caption, Gallery, data_uri, pictures
from rsam_app.evaluation.report.page import page_templates
from rsam_app.system.files import write_atomically

PICTURES = 60
"""Images per gallery."""

TITLES = (
    ("Right before, wrong now", "The most confident answers of the second run first."),
    ("Wrong before, right now", "The most confident answers of the second run first."),
    ("Moved off the object", f"The IoU with the truth fell by {MOVED} or more, the largest fall first."),
    ("Moved onto the object", f"The IoU with the truth rose by {MOVED} or more, the largest rise first."),
)
"""Titles of the galleries and their order, by change."""


def write_comparison(
    folder: Path,
    figures: Mapping[str, Any],
    first: PredictionArrays,
    second: PredictionArrays,
    names: Mapping[str, str],
) -> Path:
    """Write `comparison.html`, and its plot as PNG, into `folder`; returns the page's path.

    `figures` are those of `compare_arrays` from `first` and `second`, with what `rsam compare` adds; `names` are the
    runs' names. Unreadable images are listed on the page. Each file is replaced atomically.
    """
    templates = page_templates()
    templates.filters |= {"share": comparison_lines.share, "signed": comparison_lines.signed}
    plot = _plot(first, second)
    if plot is not None:
        write_atomically(folder / "iou.png", plot.light_solid)
    attention = figures["attention"]
    page = templates.get_template("comparison.html").render(
        names=names,
        figures=figures,
        findings=comparison_lines.findings(figures, names),
        rows=comparison_lines.table_rows(figures),
        truth=comparison_lines.truth_text(attention) if attention else "",
        plot=(data_uri(plot.light, "png"), data_uri(plot.dark, "png")) if plot else None,
        galleries=_galleries(figures, first, second),
    )
    path = folder / "comparison.html"
    write_atomically(path, page)
    return path


def _plot(first: PredictionArrays, second: PredictionArrays) -> plots.Plot | None:
    ious = np.stack([first.ious(), second.ious()])
    known = np.isfinite(ious).all(axis=0)
    return plots.iou_scatter(*ious[:, known]) if known.any() else None


def _galleries(figures: Mapping[str, Any], first: PredictionArrays, second: PredictionArrays) -> list[Gallery]:
    """The changed images of each change, with both rectangles; a change without images has no gallery."""
    row_of = {record.id: row for row, record in enumerate(second.records)}
    galleries = []
    for change, (title, about) in zip(CHANGES, TITLES, strict=True):
        images: Sequence[Mapping[str, Any]] = figures["changed"][change]
        shown = images[:PICTURES]
        if not shown:
            continue
        rows = [row_of[image["id"]] for image in shown]
        more = f" The first {len(shown):,} of {len(images):,}; all are in comparison.json." if images[PICTURES:] else ""
        drawn, unreadable = pictures(
            [second.records[row] for row in rows],
            second.rectangles[rows],
            [_caption(image, "second") for image in shown],
            "boxes",
            [(first.rectangles[row], _caption(image, "first")) for row, image in zip(rows, shown, strict=True)],
        )
        galleries.append(Gallery(f"{title}: {len(images):,}", about + more, drawn, unreadable))
    return galleries


def _caption(image: Mapping[str, Any], run: str) -> Caption:
    answer = image[run]
    note = "" if answer["iou"] is None else f"IoU {answer['iou']:.2f}"
    return Caption(image["label"], answer["predicted"], answer["confidence"], note)
