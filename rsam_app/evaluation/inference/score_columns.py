"""Scores of one split's rectangles, as columns of the predictions table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.special import softmax

from rsam_app.data.records import Record
from rsam_app.evaluation.inference.run_model import Outputs
from rsam_app.evaluation.metrics.ground_truth import image_sizes
from rsam_app.evaluation.scores.degeneracy import degenerate
from rsam_app.evaluation.scores.misattention import misattention
from rsam_app.evaluation.scores.off_object import off_object
from rsam_app.evaluation.scores.outside_evidence import background_shortcut, outside_correct, outside_evidence
from rsam_app.evaluation.scores.unusual_geometry import MIN_RECTANGLES, RectangleHabits, fit_habits
from rsam_app.geometry.types import Floats, Integers
from rsam_app.system.errors import UserError

Habits = RectangleHabits | Literal["own", "too few"] | None
"""Reference for `unusual_geometry`: the training images' rectangles, the rectangles themselves, or none because these
are too few or not predicted (None)."""


def score_columns(
    outputs: Outputs, records: Sequence[Record], labels: Integers, habits: Habits
) -> tuple[dict[str, Floats], dict[str, str]]:
    """Return score columns `(N,)` by name, and the reason for each missing one, by name.

    `outputs` are of `records`, whose labels are the column indices `labels` `(N,)`. A model without attention has no
    columns. `off_object` is present if a record has a box or a mask.
    """
    if np.isnan(outputs.rectangles).all():
        return {}, {}
    rectangles, sizes = outputs.rectangles.astype(np.float64), image_sizes(records)
    absent: dict[str, str] = {}
    columns: dict[str, Floats] = {
        "outside_evidence": outside_evidence(outputs.logits, outputs.inside, outputs.outside),
        "outside_activation": outputs.outside_activation,
        "instability": outputs.instability,
        "unusual_geometry": _unusual(outputs, sizes, habits, absent),
        "degeneracy": degenerate(rectangles, sizes),
        "outside_correct": (correct := outside_correct(outputs.outside, labels)),
        "background_shortcut": background_shortcut(correct, labels),
    }
    if np.isnan(outputs.instability).all():
        absent["instability"] = "evaluate.stability_views is 0"
    if any(r.boxes or r.mask for r in records):
        try:
            columns["off_object"] = off_object(rectangles, records)
        except UserError as error:
            absent["off_object"] = str(error)
    confidence = softmax(outputs.logits.astype(np.float64), axis=1).max(axis=1)
    return {"misattention": misattention(columns, confidence), **columns}, absent


def _unusual(outputs: Outputs, sizes: Floats, habits: Habits, absent: dict[str, str]) -> Floats:
    rectangles, predicted = outputs.rectangles.astype(np.float64), outputs.logits.argmax(axis=1)
    if habits == "own":
        habits = fit_habits(rectangles, sizes, predicted, outputs.logits.shape[1]) or "too few"
    if not isinstance(habits, RectangleHabits):
        absent["unusual_geometry"] = (
            f"fewer than {MIN_RECTANGLES} training images have rectangles"
            if habits == "too few"
            else "the training images are not predicted; `rsam predict RUN --split all` predicts them"
        )
        return np.full(len(rectangles), np.nan)
    return habits.unusual_geometry(rectangles, sizes, predicted)
