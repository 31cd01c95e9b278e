"""Sure answers: the finest node of the card's taxonomy whose probability reaches the run's threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from rsam_app.data.images.file_identity import stamp
from rsam_app.model.calibration import calibrated_probabilities
from rsam_app.model.fitted import read_fitted
from rsam_app.model.roll_up import RollUp
from rsam_app.review.dataset.schema import add_fields
from rsam_app.run.folder import RunFolder
from rsam_app.run.predictions import class_names, read_logits
from rsam_app.system.files import fingerprint
from rsam_app.system.versions import DERIVED_FIELDS

CHUNK = 20_000
"""Images that are written at once."""


def sure_answers_state(run: RunFolder) -> str | None:
    """A fingerprint of what sure answers follow from; None if the run has no taxonomy with a threshold."""
    if not class_names(run) or (fitted := read_fitted(run.model, "roll_up")) is None:
        return None
    files = [(path.name, stamp(path)) for path in sorted(run.predictions.glob("*.parquet"))]
    return fingerprint(DERIVED_FIELDS, files, fitted, read_fitted(run.model, "temperature"))


def write_sure_answers(review_set: Any, key: str, run: RunFolder, sample_of: Mapping[str, str]) -> None:
    """Update `KEY_sure`, a classification with its `level`, of the samples `sample_of` by record id; empty where not
    even the coarsest level is sure. Without a taxonomy it is emptied."""
    import fiftyone as fo

    field = f"{key}_sure"
    fitted = read_fitted(run.model, "roll_up") if class_names(run) else None
    if fitted is None:
        if review_set.has_sample_field(field):
            review_set.clear_sample_field(field)
        return
    about = "the finest level of the taxonomy at which the prediction is sure"
    kind = {"ftype": fo.EmbeddedDocumentField, "embedded_doc_type": fo.Classification}
    level = {"ftype": fo.StringField, "description": "its level"}
    add_fields(review_set, {field: {**kind, "description": about}, f"{field}.level": level})
    roll_up, temperature = RollUp.of(class_names(run), fitted), read_fitted(run.model, "temperature")
    for path in sorted(run.predictions.glob("*.parquet")):
        ids, logits = pq.read_table(path, columns=["id"]).column("id").to_pylist(), read_logits(path)
        for start in range(0, len(ids), CHUNK):
            part = slice(start, start + CHUNK)
            answers = zip(ids[part], roll_up(calibrated_probabilities(logits[part], temperature)), strict=True)
            values = {
                sample_of[i]: sure and fo.Classification(label=sure.name, confidence=sure.probability, level=sure.level)
                for i, sure in answers
                if i in sample_of
            }
            review_set.set_values(field, values, key_field="id", validate=False, expand_schema=False)
