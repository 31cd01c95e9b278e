"""From a person's verdicts to the probability that she would call a rectangle misplaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.review.dataset.fields import moved
from rsam_app.review.dataset.schema import add_field, run_keys
from rsam_app.review.dataset.targets import rectangle_of
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import read_columns

NEEDED = 50
"""Verdicts from which on a calibration is made."""
OF_EACH = 10
"""Of either kind among them."""
FOLDS = 5
STRENGTH = 0.1
"""Inverse regularisation of the logistic regression: fifty verdicts on six numbers would else be learned by heart."""
INPUTS = ("outside_evidence", "outside_activation", "instability", "unusual_geometry", "degeneracy", "confidence")
SAME_PLACE = 0.5
"""Rotated IoU with her target from which on a rectangle counts as being where she wants it."""


@dataclass(frozen=True)
class Calibration:
    """How calibration went: how many verdicts there were, how many of them 'wrong place', and, where it was made, the
    cross-validated AUROC, beside that of `misattention` on the same images. `why_not` is empty where it was made."""

    verdicts: int
    wrong: int
    auroc: float | None = None
    plain_auroc: float | None = None
    why_not: str = ""

    def text(self) -> str:
        """For a person."""
        if self.auroc is None:
            return f"misattention_calibrated: {self.why_not}"
        plain = "" if self.plain_auroc is None else f", misattention alone {self.plain_auroc:.2f}"
        return (
            f"misattention_calibrated: from {self.verdicts} verdicts, {self.wrong} of them 'wrong place';"
            f" cross-validated AUROC {self.auroc:.2f}{plain}"
        )


def write_calibrated(review_set: Any, run: RunFolder, key: str) -> Calibration:
    """Write `KEY_misattention_calibrated` into every sample of the run, in [0, 1]: the probability that the person who
    gave the verdicts so far would call its rectangle misplaced. 0: she surely would not; 1: she would.

    Use it instead of `misattention` as soon as it is there: it knows what she minds. A regularised logistic regression
    on `INPUTS`, missing ones at their median. With too few verdicts there is no such field, or it is emptied.
    """
    verdicts = read_verdicts(review_set, key)
    wrong = sum(verdicts.values())
    field = f"{key}_misattention_calibrated"
    why_not = _why_not(len(verdicts), wrong)
    if why_not:
        if review_set.has_sample_field(field) and len(review_set.exists(field)):
            review_set.clear_sample_field(field)
        return Calibration(len(verdicts), wrong, why_not=why_not)
    import fiftyone as fo

    table = read_columns(run.predictions, ["id", "misattention", *INPUTS])
    ids, inputs, plain = table.column("id").to_pylist(), _inputs(table), _column(table, "misattention")
    known = np.array([n for n, i in enumerate(ids) if i in verdicts], dtype=np.int64)
    answers = np.array([verdicts[ids[n]] for n in known], dtype=np.int64)
    probabilities, auroc = fit_verdicts(inputs, known, answers)
    about = "probability that a person calls the rectangle misplaced, learned from the verdicts so far"
    add_field(review_set, field, fo.FloatField, description=about)
    sample_of = dict(zip(*review_set.values(["record_id", "id"]), strict=True))
    values = {sample_of[i]: float(p) for i, p in zip(ids, probabilities, strict=True) if i in sample_of}
    review_set.set_values(field, values, key_field="id", validate=False, expand_schema=False)
    return Calibration(len(known), int(answers.sum()), auroc, _auroc(plain[known], answers))


def read_verdicts(review_set: Any, key: str) -> dict[str, bool]:
    """By record id whether a person finds the rectangle of the run `key` misplaced.

    Where she drew, dragged or accepted a target: whether the rectangle's rotated IoU with it is below .5, whatever run
    she was looking at. Else, of the run that was written last and so is the one the App shows: her mark 'wrong place',
    'right' or 'accept'.
    """
    from fiftyone import ViewField as F

    if not review_set.has_sample_field(f"{key}_attention"):
        return {}
    attention = f"{key}_attention.detections"
    dragged = F(attention).filter(F("bounding_box") != F("model_box")).length() > 0
    told = F("review").is_in(["wrong place", "right", "accept"])
    drawn = F("attention_target.detections").length() > 0
    names = ["record_id", "review", "metadata.width", "metadata.height", "attention_target.detections", attention]
    latest = (run_keys(review_set) or [key])[0] == key
    verdicts: dict[str, bool] = {}
    for record_id, mark, width, height, targets, models in zip(
        *review_set.match(F.any([told, drawn, dragged])).values(names), strict=True
    ):
        model = models[0] if models else None
        wanted = targets[0] if targets else model
        if record_id is None or model is None:
            continue
        misplaced = _misplaced(model, wanted, width, height) if targets or _is_dragged(model) else None
        if misplaced is None and latest and mark in ("wrong place", "right", "accept"):
            misplaced = mark == "wrong place"
        if misplaced is not None:
            verdicts[record_id] = misplaced
    return verdicts


def fit_verdicts(inputs: np.ndarray, known: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, float]:
    """Probabilities `(N,)` of the answer 1 for inputs `(N, K)`, NaN where missing, from `answers` `(M,)` to the rows
    `known` `(M,)`; and the AUROC of answers predicted by models that had not seen them."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    present = np.isfinite(inputs[known]).any(axis=0)
    usable = inputs[:, present]
    model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(C=STRENGTH))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    unseen = cross_val_predict(model, usable[known], answers, cv=folds, method="predict_proba")[:, 1]
    model.fit(usable[known], answers)
    auroc = _auroc(unseen, answers)
    return np.asarray(model.predict_proba(usable)[:, 1]), float("nan") if auroc is None else auroc


def _why_not(verdicts: int, wrong: int) -> str:
    if verdicts < NEEDED:
        return f"{verdicts} of {NEEDED} verdicts about the place so far"
    if min(wrong, verdicts - wrong) < OF_EACH:
        fewer = "misplaced" if wrong < OF_EACH else "well placed"
        return f"{verdicts} verdicts, but only {min(wrong, verdicts - wrong)} of {OF_EACH} needed that are {fewer}"
    return ""


def _misplaced(model: Any, wanted: Any, width: int, height: int) -> bool | None:
    from rsam_app.geometry.overlap import rotated_iou

    own = [model[name] if model.has_field(name) else None for name in RECTANGLE_FIELDS]
    if None in own:
        return None
    try:
        target = rectangle_of(wanted, width, height)
    except (ValueError, TypeError):  # `rsam apply` names what cannot be read
        return None
    return bool(rotated_iou(np.array([own], dtype=np.float64), np.array([target]))[0] < SAME_PLACE)


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
