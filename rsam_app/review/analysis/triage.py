"""Triage: one word per image of a run for whether its label and the place of its rectangle are suspect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from rsam_app.data.records import UNLABELLED
from rsam_app.review.dataset.fiftyone_internals import sample_collection
from rsam_app.review.dataset.schema import add_field

TRIAGE_COLORS = {"trust": "#607D8B", "relabel": "#8E24AA", "re-attend": "#2979FF", "hard": "#D32F2F"}
"""The words and their colours in the App: neither is suspect; the label is; the place is; both are."""

QUALITY_SHARE = 0.5
"""A label is suspect if its quality is below this share of the median quality."""
OUTLIER_DEVIATIONS = 1.5
"""A place is suspect if its misattention is more robust standard deviations above the median."""
MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution, in median absolute deviations."""


@dataclass(frozen=True)
class Thresholds:
    """The `label_quality` below which a label, and the `misattention` above which a place is suspect; None if the run
    lacks the score."""

    label_quality: float | None
    misattention: float | None

    def word(self, label_quality: float | None, misattention: float | None) -> str | None:
        """Return the triage of an image with these scores; None if both are missing."""
        if label_quality is None and misattention is None:
            return None
        label = None not in (label_quality, self.label_quality) and label_quality < self.label_quality  # type: ignore[operator]
        place = None not in (misattention, self.misattention) and misattention > self.misattention  # type: ignore[operator]
        return ("hard" if place else "relabel") if label else ("re-attend" if place else "trust")


def find_thresholds(predictions: pa.Table) -> Thresholds:
    """Return the thresholds of a run, from the predictions of its training split, or of all without one.

    - Half of the median label quality. A fixed number would not do, because the quality depends on the training time
      and the number of classes. On the demo's training images it selects 43 of 576, with 36 of the 40 wrong labels.
    - Median + 1.5 robust standard deviations of misattention: 7 % of a normal distribution.

    The training split is used because labels are corrected there, and because then predicting a test split again does
    not change the thresholds.
    """
    rows = predictions
    train = np.array([split == "train" for split in predictions.column("split").to_pylist()], dtype=bool)
    if train.any():
        rows = predictions.filter(pa.array(train, pa.bool_()))
    quality, misattention = _finite_values(rows, "label_quality"), _finite_values(rows, "misattention")
    return Thresholds(
        label_quality=float(QUALITY_SHARE * np.median(quality)) if len(quality) else None,
        misattention=_outlier_threshold(misattention) if len(misattention) else None,
    )


def _outlier_threshold(values: np.ndarray) -> float:
    median = float(np.median(values))
    return median + OUTLIER_DEVIATIONS * MAD_TO_SIGMA * float(np.median(np.abs(values - median)))


def write_triage(review_set: Any, key: str, thresholds: Thresholds) -> int:
    """Update the field `KEY_triage` from the scores of the samples; return how many samples changed."""
    import fiftyone as fo

    words = ", ".join(TRIAGE_COLORS)
    add_field(review_set, f"{key}_triage", fo.StringField, description=f"whether label and place are suspect: {words}")
    word, field = _expression(key, thresholds), f"{key}_triage"
    outdated = {"record_id": {"$type": "string"}, "$expr": {"$ne": [{"$ifNull": [f"${field}", None]}, word]}}
    new = {"$set": {field: word, "last_modified_at": "$$NOW"}}
    return int(sample_collection(review_set).update_many(outdated, [new]).modified_count)


def _expression(key: str, thresholds: Thresholds) -> dict[str, Any]:
    """`Thresholds.word` as a MongoDB expression; null for images without a label. Types are tested because null is less
    than any number there."""
    quality, place = f"${key}_label_quality", f"${key}_misattention"
    has_label, has_place = ({"$isNumber": name} for name in (quality, place))
    limits = (thresholds.label_quality, thresholds.misattention)
    label_suspect = {"$and": [has_label, {"$lt": [quality, limits[0]]}]} if limits[0] is not None else False
    place_suspect = {"$and": [has_place, {"$gt": [place, limits[1]]}]} if limits[1] is not None else False
    nothing = {"$or": [{"$eq": ["$split", UNLABELLED]}, {"$not": [{"$or": [has_label, has_place]}]}]}
    branches = [
        {"case": nothing, "then": None},
        {"case": {"$and": [label_suspect, place_suspect]}, "then": "hard"},
        {"case": label_suspect, "then": "relabel"},
        {"case": place_suspect, "then": "re-attend"},
    ]
    return {"$switch": {"branches": branches, "default": "trust"}}


def _finite_values(rows: pa.Table, name: str) -> np.ndarray:
    if name not in rows.column_names:
        return np.zeros(0)
    values = rows.column(name).cast(pa.float64()).to_numpy()
    return np.asarray(values[np.isfinite(values)])
