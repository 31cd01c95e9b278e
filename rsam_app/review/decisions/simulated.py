"""A simulated reviewer, who knows the truth about images and decides about them in FiftyOne as a person would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rsam_app.geometry.overlap import box_iou, upright_edges
from rsam_app.geometry.types import Box, Rectangle
from rsam_app.review.dataset.targets import as_target, rectangle_of
from rsam_app.review.decisions.marks import mark, set_by_id

NAME = "simulated reviewer"
"""Who decided, in the corrections table."""

RIGHT_FROM = 0.5
"""IoU of the shown rectangle's upright box with the true box from which it is in the right place."""


class Truth(NamedTuple):
    """The true class of an image, and the true box in pixels."""

    label: str
    box: Box


@dataclass(frozen=True)
class Decided:
    """Record ids by decision; a corrected label comes in addition to one of the other two."""

    relabelled: list[str]
    drawn: list[str]
    right: list[str]

    def text(self) -> str:
        """The number of decisions by kind, in a sentence."""
        return (
            f"The {NAME} looked at {len(self.drawn) + len(self.right)} images: {len(self.relabelled)} labels corrected,"
            f" {len(self.drawn)} rectangles drawn where the shown one was off (IoU < {RIGHT_FROM}), and"
            f" {len(self.right)} marked right."
        )


def decide(review_set: Any, key: str, truths: Mapping[str, Truth]) -> Decided:
    """Decide in the review dataset about the records with these ids, shown with the rectangles of the run `key`.

    A wrong label is corrected. A rectangle is marked 'right' if its upright box has at least `RIGHT_FROM` IoU with the
    true box, else 'wrong place', and the true box is drawn. Nothing is applied.
    """
    labels, drawn, right, targets = {}, {}, {}, {}
    names = ["id", "record_id", "ground_truth.label", f"{key}_attention.detections", "metadata.width"]
    samples = review_set.select_by("record_id", list(truths)).values([*names, "metadata.height"])
    for sample_id, record_id, label, shown, width, height in zip(*samples, strict=True):
        truth = truths[record_id]
        if label != truth.label:
            labels[sample_id] = record_id
        if shown and _is_right(rectangle_of(shown[0], width, height), truth.box, width, height):
            right[sample_id] = record_id
        else:
            drawn[sample_id] = record_id
            targets[sample_id] = as_target(_drawn(truth.box), width, height)
    for decision, chosen in (("right", right), ("wrong place", drawn)):
        if chosen:
            corrected = {i: truths[labels[i]].label for i in chosen if i in labels}
            mark(review_set, list(chosen), decision, key, NAME, corrected)
    set_by_id(review_set, "attention_target", targets)
    return Decided(*(sorted(part.values()) for part in (labels, drawn, right)))


def _is_right(shown: Rectangle, box: Box, width: int, height: int) -> bool:
    x, y, w, h = box
    upright = upright_edges(np.array([shown]), np.array([[width, height]], dtype=np.float64))
    return bool(box_iou(upright, np.array([[x, y, x + w, y + h]]))[0] >= RIGHT_FROM)


def _drawn(box: Box) -> Rectangle:
    """The upright rectangle that a reviewer drags around the object."""
    x, y, width, height = box
    return Rectangle(x + width / 2, y + height / 2, width, height, 0.0)
