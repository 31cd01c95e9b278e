"""`evaluation/report.html`: a self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsam_app.data.records import Dataset
from rsam_app.evaluation.metrics.accuracy import confusion_matrix
from rsam_app.evaluation.metrics.ground_truth import TruthKind
from rsam_app.evaluation.metrics.localization import leading_kind
from rsam_app.evaluation.metrics.prediction_arrays import PredictionArrays, split_arrays
from rsam_app.evaluation.metrics.rectangles import score_rectangles
from rsam_app.evaluation.report import headlines, plots
from rsam_app.evaluation.report.gallery import Caption, Gallery, data_uri, pictures
from rsam_app.evaluation.report.page import page_templates
from rsam_app.evaluation.report.robustness_headlines import robustness_findings, robustness_tiles
from rsam_app.geometry.types import Floats, Integers
from rsam_app.run.metrics_log import read_log
from rsam_app.system.files import write_atomically

PICTURES = 12
"""Images per gallery."""


def write_report(
    folder: Path, metrics: Mapping[str, Any], table: pa.Table, dataset: Dataset, metrics_log: Path
) -> Path:
    """Write `report.html`, and its plots as PNG files, into `folder`; returns the page's path.

    `metrics` are those of `evaluate_predictions` from `table`, `metrics_log` is the run's `metrics.jsonl` (it may be
    missing). Unreadable images are listed on the page. Each file is replaced atomically. Raises `UserError` if table
    and dataset do not fit.
    """
    rows = table.filter(pc.equal(table.column("split"), metrics["split"]))
    arrays = split_arrays(rows, dataset, metrics["split"], [entry["class"] for entry in metrics["per_class"]])
    epochs, broken_lines = read_log(metrics_log)
    drawn = _plots(metrics, arrays, epochs)
    for name, plot in drawn.items():
        write_atomically(folder / f"{name}.png", plot.light_solid)
    located = metrics.get("localization")
    page = (
        page_templates()
        .get_template("report.html")
        .render(
            run=folder.resolve().parent.name,
            dataset=dataset.name,
            metrics=metrics,
            findings=[*headlines.findings(metrics), *robustness_findings(metrics)],
            classification=headlines.classification_tiles(metrics),
            selective=headlines.selective_tiles(metrics["selective"]),
            localization=headlines.localization_tiles(located) if located else [],
            boxes_name=headlines.boxes_name,
            mistake_height=headlines.mistake_height,
            mask_tiles=headlines.mask_tiles(located) if located else [],
            located=located,
            **robustness_tiles(metrics),
            plots={name: (data_uri(p.light, "png"), data_uri(p.dark, "png")) for name, p in drawn.items()},
            broken_lines=broken_lines,
            galleries=_galleries(rows, arrays, metrics),
        )
    )
    path = folder / "report.html"
    write_atomically(path, page)
    return path


def _plots(
    metrics: Mapping[str, Any], arrays: PredictionArrays, epochs: Sequence[Mapping[str, Any]]
) -> dict[str, plots.Plot]:
    drawn = {"reliability": plots.reliability_diagram(metrics["calibration"]["bins"])}
    drawn["risk_coverage"] = plots.risk_coverage_curve(metrics["selective"]["curve"])
    curves = plots.training_curves(epochs)
    if curves is not None:
        drawn["training_curves"] = curves
    if "stability" in metrics and "rotated_iou" in metrics["stability"]:
        drawn["stability"] = plots.stability_bars(metrics["stability"]["by_transform"])
    if "corruptions" in metrics:
        drawn["corruptions"] = plots.corruption_curves(metrics["corruptions"])
    confusion = confusion_matrix(arrays.predicted, arrays.labels, metrics["n_classes"])
    drawn["confusion"] = plots.confusion_plot(confusion)
    located = metrics.get("localization")
    if located:
        rows = arrays.with_rectangle
        centre_box = None if located["centre_box"] is None else np.array(located["centre_box"])
        records = [arrays.records[i] for i in rows]
        scores = score_rectangles(arrays.rectangles[rows], records, leading_kind(located), centre_box)
        drawn["iou"] = plots.iou_histogram(scores.iou, None if centre_box is None else scores.centre_box_iou)
    return drawn


class _Choice(NamedTuple):
    title: str
    about: str
    rows: Integers
    values: Floats
    unit: str = ""

    def note(self, row: int) -> str:
        return f"{self.unit} {self.values[row]:.2f}" if self.unit else ""


def _galleries(rows: pa.Table, arrays: PredictionArrays, metrics: Mapping[str, Any]) -> list[Gallery]:
    located = metrics.get("localization")
    kind: TruthKind | None = leading_kind(located) if located else None
    labels, predicted, confidence = (rows.column(name).to_pylist() for name in ("label", "predicted", "confidence"))
    galleries = []
    for choice in _choices(rows, arrays, located is not None):
        records = [arrays.records[row] for row in choice.rows]
        captions = [Caption(labels[row], predicted[row], confidence[row], choice.note(row)) for row in choice.rows]
        drawn, unreadable = pictures(records, arrays.rectangles[choice.rows], captions, kind)
        galleries.append(Gallery(choice.title, choice.about, drawn, unreadable))
    return galleries


def _choices(rows: pa.Table, arrays: PredictionArrays, has_truth: bool) -> list[_Choice]:
    """The images of each gallery, in page order; empty galleries are left out."""
    choices = []
    if has_truth:
        ious = arrays.ious()
        choices.append(_Choice("Worst rectangles", "Lowest IoU with the object first.", _lowest(ious), ious, "IoU"))
        choices.append(_Choice("Best rectangles", "Highest IoU with the object first.", _lowest(-ious), ious, "IoU"))
    else:
        rows_with = arrays.with_rectangle
        evenly = rows_with[:: max(1, len(rows_with) // PICTURES)][:PICTURES]
        choices.append(_Choice("Rectangles", "An even sample of the split.", evenly, np.zeros(len(arrays.labels))))
    misattention = _column(rows, "misattention")
    about = "Highest misattention first: evidence outside the rectangle, or a rectangle that does not follow the image."
    choices.append(_Choice("Most misattended", about, _lowest(-misattention), misattention, "misattention"))
    wrong = np.where(arrays.predicted != arrays.labels, _column(rows, "confidence"), np.nan)
    about = "Most confident first: check for wrong labels and for classes that cannot be distinguished."
    choices.append(_Choice("Most confident mistakes", about, _lowest(-wrong), wrong))
    return [choice for choice in choices if len(choice.rows)]


def _lowest(values: Floats) -> Integers:
    """Rows of the lowest finite values, at most `PICTURES`."""
    known = np.flatnonzero(np.isfinite(values))
    return known[np.argsort(values[known], kind="stable")][:PICTURES]


def _column(rows: pa.Table, name: str) -> Floats:
    if name not in rows.column_names:
        return np.full(rows.num_rows, np.nan)
    return np.asarray(rows.column(name).to_numpy().astype(np.float64))
