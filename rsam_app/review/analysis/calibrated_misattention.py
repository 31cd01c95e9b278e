"""Calibrated misattention: the probability that the reviewer calls a rectangle misplaced, learned from verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.fields import moved
from rsam_app.review.dataset.guest import field_of
from rsam_app.review.dataset.schema import add_field, run_keys
from rsam_app.review.dataset.targets import rectangle_of
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import read_columns

MIN_VERDICTS = 50
"""Verdicts needed for a calibration."""
MIN_OF_EACH = 10
"""Verdicts of either kind needed among them."""
FOLDS = 5
INVERSE_REGULARISATION = 0.1
"""`C` of the logistic regression, small because fifty verdicts on six inputs overfit."""
INPUTS = ("outside_evidence", "outside_activation", "instability", "unusual_geometry", "degeneracy", "confidence")
MIN_IOU = 0.5
"""Rotated IoU with the reviewer's target from which on a rectangle counts as well placed."""


@dataclass(frozen=True)
class Calibration:
    """Result of `write_calibrated`."""

    verdicts: int
    misplaced: int
    """Verdicts that call the rectangle misplaced."""
    auroc: float | None = None
    """Cross-validated; None without a calibration."""
    plain_auroc: float | None = None
    """AUROC of `misattention` on the same images."""
    missing: str = ""
    """Why there is no calibration; empty if there is one."""

    def text(self) -> str:
        """Return a line for the user."""
        if self.auroc is None:
            return f"misattention_calibrated: {self.missing}"
        plain = "" if self.plain_auroc is None else f", misattention alone {self.plain_auroc:.2f}"
        return (
            f"misattention_calibrated: from {self.verdicts} verdicts, {self.misplaced} of them misplaced;"
            f" cross-validated AUROC {self.auroc:.2f}{plain}"
        )


def write_calibrated(review_set: Any, run: RunFolder, key: str) -> Calibration:
    """Write `KEY_misattention_calibrated` to every sample of the run: the probability in [0, 1] that the reviewer calls
    its rectangle misplaced. 0: surely well placed; 1: surely misplaced.

    Prefer it to `misattention` as soon as it exists, because it has learned what the reviewer objects to. A regularised
    logistic regression on `INPUTS`, missing ones at their median. With too few verdicts the field is not created, or
    it is emptied.
    """
    verdicts = read_verdicts(review_set, key)
    misplaced = sum(verdicts.values())
    field = f"{key}_misattention_calibrated"
    if missing := _missing_verdicts(len(verdicts), misplaced):
        if review_set.has_sample_field(field) and len(review_set.exists(field)):
            review_set.clear_sample_field(field)
        return Calibration(len(verdicts), misplaced, missing=missing)
    import fiftyone as fo

    table = read_columns(run.predictions, ["id", "misattention", *INPUTS])
    ids, inputs, plain = table.column("id").to_pylist(), _inputs(table), _column(table, "misattention")
    known = np.array([n for n, i in enumerate(ids) if i in verdicts], dtype=np.int64)
    answers = np.array([verdicts[ids[n]] for n in known], dtype=np.int64)
    probabilities, auroc = fit_verdicts(inputs, known, answers)
    about = "probability that the reviewer calls the rectangle misplaced, learned from the verdicts so far"
    add_field(review_set, field, fo.FloatField, description=about)
    sample_of = dict(zip(*review_set.values(["record_id", "id"]), strict=True))
    values = {sample_of[i]: float(p) for i, p in zip(ids, probabilities, strict=True) if i in sample_of}
    review_set.set_values(field, values, key_field="id", validate=False, expand_schema=False)
    return Calibration(len(known), int(answers.sum()), auroc, _auroc(plain[known], answers))


def read_verdicts(review_set: Any, key: str) -> dict[str, bool]:
    """Return by record id whether the reviewer finds the rectangle of the run `key` misplaced.

    - With a target (drawn, dragged or accepted, in any run): whether the rectangle's rotated IoU with it is below 0.5.
    - Else, if the run is the latest and so the one in the App: the mark 'wrong place', 'right' or 'accept'.
    """
    from fiftyone import ViewField as F

    if not review_set.has_sample_field(f"{key}_attention"):
        return {}
    attention = f"{key}_attention.detections"
    is_dragged = F(attention).filter(F("bounding_box") != F("model_box")).length() > 0
    is_marked = F("review").is_in(["wrong place", "right", "accept"])
    has_target = F("attention_target.detections").length() > 0
    size = field_of(review_set, "metadata")
    names = ["record_id", "review", f"{size}.width", f"{size}.height", "attention_target.detections", attention]
    latest = (run_keys(review_set) or [key])[0] == key
    verdicts: dict[str, bool] = {}
    for record_id, mark, width, height, targets, models in zip(
        *review_set.match(F.any([is_marked, has_target, is_dragged])).values(names), strict=True
    ):
        model = models[0] if models else None
        target = targets[0] if targets else model
        if record_id is None or model is None:
            continue
        misplaced = _misplaced(model, target, width, height) if targets or _is_dragged(model) else None
        if misplaced is None and latest and mark in ("wrong place", "right", "accept"):
            misplaced = mark == "wrong place"
        if misplaced is not None:
            verdicts[record_id] = misplaced
    return verdicts


def fit_verdicts(inputs: np.ndarray, known: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, float]:
    """Return probabilities `(N,)` of answer 1 for inputs `(N, K)` (NaN if missing), learned from `answers` `(M,)` to
    the rows `known` `(M,)`, and the cross-validated AUROC."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    present = np.isfinite(inputs[known]).any(axis=0)
    usable = inputs[:, present]
    model = make_pipeline(
        SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(C=INVERSE_REGULARISATION)
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    held_out = cross_val_predict(model, usable[known], answers, cv=folds, method="predict_proba")[:, 1]
    model.fit(usable[known], answers)
    auroc = _auroc(held_out, answers)
    return np.asarray(model.predict_proba(usable)[:, 1]), float("nan") if auroc is None else auroc


def _missing_verdicts(verdicts: int, misplaced: int) -> str:
    if verdicts < MIN_VERDICTS:
        return f"not yet: {verdicts} of {MIN_VERDICTS} verdicts about the place are given"
    if (fewer := min(misplaced, verdicts - misplaced)) < MIN_OF_EACH:
        kind = "misplaced" if misplaced < MIN_OF_EACH else "well placed"
        return f"{verdicts} verdicts, but only {fewer} of the {MIN_OF_EACH} needed are {kind}"
    return ""


def _misplaced(model: Any, target: Any, width: int, height: int) -> bool | None:
    from rsam_app.geometry.overlap import rotated_iou

    five = [model[name] if model.has_field(name) else None for name in RECTANGLE_FIELDS]
    if None in five:
        return None
    try:
        rectangle = rectangle_of(target, width, height)
    except (ValueError, TypeError):  # `rsam apply` reports boxes that cannot be read
        return None
    return bool(rotated_iou(np.array([five], dtype=np.float64), np.array([rectangle]))[0] < MIN_IOU)


def _is_dragged(detection: Any) -> bool:
    return moved(detection.bounding_box, detection["model_box"] if detection.has_field("model_box") else None)


def _inputs(table: pa.Table) -> np.ndarray:
    return np.stack([_column(table, name) for name in INPUTS], axis=1)


def _column(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.asarray(table.column(name).cast(pa.float64()).to_numpy())


def _auroc(scores: np.ndarray, answers: np.ndarray) -> float | None:
    from sklearn.metrics import roc_auc_score

    usable = np.isfinite(scores)
    if len(set(answers[usable])) < 2:
        return None
    return float(roc_auc_score(answers[usable], scores[usable]))
