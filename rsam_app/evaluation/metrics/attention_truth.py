"""Upright truth of where the object is, for comparisons: boxes, else a mask's box, else the reviewer's target."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.ground_truth import box_edges, true_edges
from rsam_app.geometry.overlap import upright_edges
from rsam_app.geometry.types import Box, Floats, Rectangle

TruthSource = Literal["boxes", "masks' boxes", "reviewer's targets"]


def with_true_boxes(record: Record, target: Rectangle | None) -> tuple[Record, TruthSource | None]:
    """Return the record with the boxes that its rectangle is compared with and no mask, and where they come from.

    Boxes come first, as they are what upright boxes are drawn for. Without any truth the record has no box and its
    source is None. Raises `UserError` if the mask cannot be read.
    """
    edges, source = _true_edges(record, target)
    return replace(record, boxes=tuple(_box(e) for e in edges), mask=None), source


def _true_edges(record: Record, target: Rectangle | None) -> tuple[Floats, TruthSource | None]:
    if len(edges := box_edges(record)):
        return edges, "boxes"
    if len(edges := true_edges(record, "masks")):
        return edges, "masks' boxes"
    if target is None:
        return np.zeros((0, 4)), None
    return upright_edges(np.array([target]), np.array([(record.width, record.height)])), "reviewer's targets"


def _box(edges: Floats) -> Box:
    left, top, right, bottom = (float(edge) for edge in edges)
    return left, top, right - left, bottom - top
