"""Triage: is the label to be believed, and did the model look at the right place? One word for each image of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from rsam_app.data.records import UNLABELLED

TRIAGE_COLORS = {"trust": "#607D8B", "relabel": "#8E24AA", "re-attend": "#2979FF", "hard": "#D32F2F"}
"""Both fine; the label is suspect; the place is; both are. And how the App colours them."""

SUSPECT = 0.5
"""A label is suspect that the model believes less than this share of what it believes most labels."""
OUTLYING = 1.5
"""A place is suspect whose misattention is more than so many (robust) standard deviations above the usual one."""
SIGMA = 1.4826
"""Standard deviations in a median absolute deviation, if it is a normal distribution's."""


@dataclass(frozen=True)
class Thresholds:
    """`label_quality` below, and `misattention` above which an image is not trusted; None where the run lacks the
    score."""

    label_quality: float | None
    misattention: float | None

    def word(self, label_quality: float | None, misattention: float | None) -> str | None:
        """The triage of an image with these scores; None where both are missing."""
        if label_quality is None and misattention is None:
            return None
        mistaken = None not in (label_quality, self.label_quality) and label_quality < self.label_quality  # type: ignore[operator]
        astray = None not in (misattention, self.misattention) and misattention > self.misattention  # type: ignore[operator]
        return _WORDS[mistaken, astray]


_WORDS = {(False, False): "trust", (True, False): "relabel", (False, True): "re-attend", (True, True): "hard"}


def find_thresholds(predictions: pa.Table) -> Thresholds:
    """Thresholds of a run from its predictions: of the training split where it has one, else of all.

    Half of the median label quality: what a model believes of a label depends on how long it learned and on how many
    classes there are, so no fixed number does; on the demo's training images it takes 43 of 576 and finds 36 of the 40
    wrong labels. Median + 1.5 robust standard deviations of misattention: some 7 % where nothing is the matter, more
    where a part stands out. The training split decides because a label is mended there, and because both numbers stay
    what they are when a test split is predicted anew.
    """
    rows = predictions
    train = np.array([split == "train" for split in predictions.column("split").to_pylist()], dtype=bool)
    if train.any():
        rows = predictions.filter(pa.array(train))
    quality, place = _known(rows, "label_quality"), _known(rows, "misattention")
    return Thresholds(
        label_quality=float(SUSPECT * np.median(quality)) if len(quality) else None,
        misattention=_outlying(place) if len(place) else None,
    )


def _outlying(values: np.ndarray) -> float:
    middle = float(np.median(values))
    return middle + OUTLYING * SIGMA * float(np.median(np.abs(values - middle)))


def write_triage(review_set: Any, key: str, thresholds: Thresholds) -> int:
    """Bring the field `KEY_triage` up to date, in the database itself; returns how many samples changed.

    It follows the scores that the samples hold, so it is right also for rows that were written before.
    """
    import fiftyone as fo

    from rsam_app.review.dataset.schema import add_field

    words = ", ".join(TRIAGE_COLORS)
    add_field(review_set, f"{key}_triage", fo.StringField, description=f"label and place together: {words}")
    word, field = _expression(key, thresholds), f"{key}_triage"
    ours = {"record_id": {"$type": "string"}, "$expr": {"$ne": [{"$ifNull": [f"${field}", None]}, word]}}
    changed = review_set._sample_collection.update_many(ours, [{"$set": {field: word, "last_modified_at": "$$NOW"}}])
    return int(changed.modified_count)


def _expression(key: str, thresholds: Thresholds) -> dict[str, Any]:
    """`Thresholds.word` as MongoDB computes it, and null for what has no label to trust. There null is less than any
    number, so it is asked for."""
    quality, place = f"${key}_label_quality", f"${key}_misattention"
    has_label, has_place = ({"$isNumber": name} for name in (quality, place))
    limits = (thresholds.label_quality, thresholds.misattention)
    mistaken = {"$and": [has_label, {"$lt": [quality, limits[0]]}]} if limits[0] is not None else False
    astray = {"$and": [has_place, {"$gt": [place, limits[1]]}]} if limits[1] is not None else False
    nothing = {"$or": [{"$eq": ["$split", UNLABELLED]}, {"$not": [{"$or": [has_label, has_place]}]}]}
    branches = [
        {"case": nothing, "then": None},
        {"case": {"$and": [mistaken, astray]}, "then": "hard"},
        {"case": mistaken, "then": "relabel"},
        {"case": astray, "then": "re-attend"},
    ]
    return {"$switch": {"branches": branches, "default": "trust"}}


def _known(rows: pa.Table, name: str) -> np.ndarray:
    if name not in rows.column_names:
        return np.zeros(0)
    values = rows.column(name).cast(pa.float64()).to_numpy()
    return values[np.isfinite(values)]
