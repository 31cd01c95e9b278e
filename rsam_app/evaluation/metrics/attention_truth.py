"""Boxes that two runs are compared with: those of `rsam evaluate`, else the reviewer's targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from rsam_app.data.records import Record
from rsam_app.evaluation.metrics.ground_truth import true_edges, truth_kinds
from rsam_app.geometry.overlap import upright_edges
from rsam_app.geometry.types import Box, Floats, Rectangle

BoxSource = Literal["boxes", "masks", "targets"]
"""`boxes` and `masks`: as `boxes_from` of `localization`; `targets`: the upright boxes of the reviewer's targets."""


def with_true_boxes(
    records: Sequence[Record], targets: Mapping[str, Rectangle]
) -> tuple[tuple[Record, ...], list[BoxSource | None]]:
    """Return the records with the boxes that their rectangles are compared with and no mask, and each record's source.

    Boxes are those of the headline figures of `localization`, so from one source for all records (see `truth_kinds`).
    `targets`, by record id, are the truth of records that have neither box nor mask. Other records have no box, and
    None as source. Raises `UserError` if a mask cannot be read.
    """
    found = [_target_edges(record, targets) for record in records]
    sources: list[BoxSource | None] = ["targets" if len(edges) else None for edges in found]
    for kind in truth_kinds(records):
        true = [true_edges(record, kind) for record in records]
        if any(len(edges) for edges in true):
            source: BoxSource = "boxes" if kind == "boxes" else "masks"
            sources = [source if len(edges) else before for edges, before in zip(true, sources, strict=True)]
            found = [edges if len(edges) else target for edges, target in zip(true, found, strict=True)]
            break
    boxed = [replace(record, boxes=_boxes(edges), mask=None) for record, edges in zip(records, found, strict=True)]
    return tuple(boxed), sources


def _target_edges(record: Record, targets: Mapping[str, Rectangle]) -> Floats:
    if record.boxes or record.mask or record.id not in targets:
        return np.zeros((0, 4))
    return upright_edges(np.array([targets[record.id]]), np.array([(record.width, record.height)]))


def _boxes(edges: Floats) -> tuple[Box, ...]:
    return tuple((left, top, right - left, bottom - top) for left, top, right, bottom in edges.tolist())
