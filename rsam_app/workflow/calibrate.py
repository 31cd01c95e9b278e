"""Calibration of a run by its validation predictions: the temperature, the known classes and the threshold at which
answers are sure, saved with the model, and the columns that follow from them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rsam_app.run.job import Job
from rsam_app.workflow.stage import Stage, run_stage
from rsam_app.workflow.stage_inputs import calibrate_inputs, predicted_splits

if TYPE_CHECKING:
    from rsam_app.evaluation.metrics.prediction_arrays import PredictionArrays
    from rsam_app.model.known_classes import KnownClasses
    from rsam_app.model.roll_up import RollUp

CONFIDENCE = "calibrated_confidence"
"""Score column: the probability of the predicted class at the fitted temperature."""

UNKNOWN = "unknown"
"""Score column: the share of validation images that look more like a class of the model than this one."""


def calibrate(job: Job, again: bool = False) -> None:
    """Fit the temperature, the known classes and, with a taxonomy, the threshold at which answers are sure to the
    predictions, save them with the model and add `CONFIDENCE`, `UNKNOWN` and the columns `SURE` to every split's
    predictions, unless these are the same as the last time and were not written `again`. For the main process.

    Training images get no `UNKNOWN`: the classes were fitted to them, so they are closer than new ones.
    """
    stage = Stage("calibrate", partial(calibrate_inputs, job), partial(_calibrate, job))
    if again or not job.run.stage_done(stage.name, stage.inputs()):
        run_stage(job, stage)


def _calibrate(job: Job) -> None:
    from rsam_app.model.calibration import calibrated_probabilities
    from rsam_app.run.predictions import SURE, read_embeddings, read_logits, replace_columns, sure_columns

    if job.pipeline.model.second_look != job.run.load_pipeline().model.second_look:
        job.reporter.say("not calibrated: model.second_look is not that of the trained model")
        return
    splits = predicted_splits(job)
    validation = _arrays(job, "val") if "val" in splits else None
    temperature = _fit_temperature(job, validation)
    roll_up = _fit_roll_up(job, validation, temperature)
    known = _known_classes(job, splits)
    for split in splits:
        path = job.run.predictions / f"{split}.parquet"
        logits = read_logits(path)
        probabilities = calibrated_probabilities(logits, temperature)
        columns: dict[str, Any] = dict.fromkeys([CONFIDENCE, UNKNOWN, *SURE.names])
        if temperature is not None:
            columns[CONFIDENCE] = probabilities.max(axis=1)
        if known is not None and split != "train":
            columns[UNKNOWN] = known.unknown_score(read_embeddings(job.run.predictions, [split]), logits)
        if roll_up is not None:
            columns |= sure_columns(roll_up(probabilities))
        replace_columns(path, columns)


def _arrays(job: Job, split: str) -> PredictionArrays:
    from rsam_app.evaluation.metrics.prediction_arrays import split_arrays
    from rsam_app.run.predictions import class_names, read_predictions

    table = read_predictions(job.run.predictions, [split])
    return split_arrays(table, job.measured.dataset, split, class_names(job.run))


def _fit_temperature(job: Job, validation: PredictionArrays | None) -> float | None:
    """The temperature to apply: fitted to `validation`, else the one that the model has; None without either."""
    from rsam_app.evaluation.metrics.calibration import temperature_to_apply
    from rsam_app.model.fitted import read_fitted, save_fitted

    if validation is None:
        kept: float | None = read_fitted(job.run.model, "temperature")
        if kept is None:
            job.reporter.say(
                f"no temperature: val is not predicted; `rsam predict {job.run.path} --split all` predicts it"
                if job.measured.dataset.split("val")
                else "no temperature: the dataset has no val split"
            )
        return kept
    temperature, why_not = temperature_to_apply(validation.logits, validation.labels)
    save_fitted(job.run.model, temperature=temperature)
    job.reporter.say(
        f"no temperature: {why_not}"
        if temperature is None
        else f"temperature {temperature:.3f}, fitted to {len(validation.labels):,} val images: saved with the model"
    )
    return temperature


def _fit_roll_up(job: Job, validation: PredictionArrays | None, temperature: float | None) -> RollUp | None:
    """Save the taxonomy with its threshold, fitted to `validation`, and return both; without that, keep what the model
    has if it is of this taxonomy and for this accuracy."""
    from rsam_app.evaluation.metrics.hierarchy import threshold_to_apply
    from rsam_app.model.calibration import calibrated_probabilities
    from rsam_app.model.fitted import read_fitted, save_fitted
    from rsam_app.model.roll_up import RollUp

    taxonomy, accuracy = job.measured.dataset.taxonomy, job.pipeline.evaluate.sure_accuracy
    kept = read_fitted(job.run.model, "roll_up")
    if taxonomy is None:
        if kept is not None:
            save_fitted(job.run.model, roll_up=None)
        return None
    if validation is None:
        if kept is not None and (same := RollUp(taxonomy, kept["threshold"], accuracy)).as_json() == kept:
            return same
        threshold, why_not = None, "val is not predicted"
    else:
        probabilities = calibrated_probabilities(validation.logits, temperature)
        threshold, why_not = threshold_to_apply(probabilities, validation.labels, taxonomy, accuracy)
    fitted = None if threshold is None else RollUp(taxonomy, threshold, accuracy)
    save_fitted(job.run.model, roll_up=fitted and fitted.as_json())
    job.reporter.say(
        f"unsure answers are not rolled up: {why_not}"
        if threshold is None
        else f"answers are sure from a probability of {threshold:.3f}, at which {100 * accuracy:g} % of those to val"
        " images are right: saved with the model"
    )
    return fitted


def _known_classes(job: Job, splits: list[str]) -> KnownClasses | None:
    """The classes fitted to the training and validation images, else those that the model has; None without either."""
    from rsam_app.model.known_classes import KnownClasses
    from rsam_app.run.predictions import read_embeddings, read_logits, read_predictions

    path, folder = job.run.known_classes, job.run.predictions
    missing = [split for split in ("train", "val") if split not in splits]
    if missing:
        if path.exists():
            return KnownClasses.load(path)
        job.reporter.say(f"no {UNKNOWN}: {' and '.join(missing)} not predicted")
        return None
    labels = np.array(read_predictions(folder, ["train"]).column("label").to_pylist())
    held_out = read_embeddings(folder, ["val"]), read_logits(folder / "val.parquet")
    try:
        known = KnownClasses.fit(read_embeddings(folder, ["train"]), labels, *held_out)
    except ValueError as error:
        path.unlink(missing_ok=True)
        job.reporter.say(f"no {UNKNOWN}: {error}")
        return None
    known.save(path)
    return known
