"""The change between two rounds of the demo in plain sentences: answers, rectangles, and the planted shortcut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rsam_app.data.synthetic.planting import Planted, PlantedImage
from rsam_app.geometry.overlap import box_iou, upright_edges
from rsam_app.geometry.types import Box, Floats, Mask
from rsam_app.workflow.demo.report import planted_rows, shortcut_victims

NAMED = 3
"""Images named of each kind of move."""


def change_sentences(
    planted: Planted, tables: tuple[pa.Table, pa.Table], figures: Mapping[str, Any], names: Mapping[str, str]
) -> list[str]:
    """Sentences about what changed from the first to the second of two predictions `tables` of the test split.

    `figures` and `names` are those of a comparison of the two runs.
    """
    from rsam_app.evaluation.report.comparison_lines import findings, share

    top1, iou = figures["top1"], figures["attention"]
    headline = (
        f"Test images: top-1 {share(top1['first'])} → {share(top1['second'])};"
        f" the rectangles' mean IoU with the true boxes {iou['first']:.3f} → {iou['second']:.3f}."
    )
    accuracy, attention = (text for _, text in findings(figures, names)[:2])
    return [headline, accuracy, attention, *_moves(figures["changed"]), shortcut_change(planted, *tables)]


def shortcut_change(planted: Planted, before: pa.Table, now: pa.Table) -> str:
    """A sentence about the planted shortcut in the test split: rectangles on the flowers, and misled answers."""
    rows = [planted_rows(planted, table, "test") for table in (before, now)]
    covered = [on_flowers(part.truth, part.rectangle) for part in rows]
    misled = [int(shortcut_victims(planted, part.truth, part.predicted).sum()) for part in rows]
    shares = [f"{int(c.sum())} of {len(c)}" for c in covered]
    return (
        f"Shortcut: of the rectangles in test images with pink flowers, {shares[1]} cover the flowers rather than the"
        f" beetle, {shares[0]} before; the flowers misled the model in {misled[1]} test images, {misled[0]} before."
    )


def on_flowers(truth: Sequence[PlantedImage], rectangles: Floats) -> Mask:
    """For each image with flowers and a rectangle `(N, 5)`, whether the rectangle's upright box has a larger IoU with
    the flowers' box than with the beetle's."""
    rows = [n for n, t in enumerate(truth) if t.flowers is not None and np.isfinite(rectangles[n]).all()]
    chosen = [truth[n] for n in rows]
    sizes = np.array([(t.width, t.height) for t in chosen], dtype=np.float64).reshape(-1, 2)
    upright = upright_edges(rectangles[rows], sizes)
    flowers = _edges([t.flowers for t in chosen if t.flowers is not None])
    covered: Mask = box_iou(upright, flowers) > box_iou(upright, _edges([t.box for t in chosen]))
    return covered


def _moves(changed: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The rectangles that moved furthest onto the beetle, and off it."""
    sentences = []
    for where in ("onto", "off"):
        if moved := changed[f"moved {where} the object"]:
            named = ", ".join(
                f"{m['id']} (IoU {m['first']['iou']:.2f} → {m['second']['iou']:.2f})" for m in moved[:NAMED]
            )
            more = f", and {len(moved) - NAMED} more" if len(moved) > NAMED else ""
            sentences.append(f"Moved {where} the beetle: {named}{more}.")
    return sentences


def _edges(boxes: Sequence[Box]) -> Floats:
    return np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], dtype=np.float64).reshape(-1, 4)
