"""Calibration of a run by its validation predictions: the temperature, saved with the model, and the columns that
follow from it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rsam_app.run.job import Job
from rsam_app.workflow.stage import Stage, run_stage
from rsam_app.workflow.stage_inputs import calibrate_inputs, predicted_splits

if TYPE_CHECKING:
    from rsam_app.evaluation.metrics.prediction_arrays import PredictionArrays

CONFIDENCE = "calibrated_confidence"
"""Score column: the probability of the predicted class at the fitted temperature."""


def calibrate(job: Job) -> None:
    """Fit the temperature to the validation predictions, save it with the model and add `CONFIDENCE` to every split's
    predictions, unless the predictions are the same as the last time. For the main process."""
    stage = Stage("calibrate", partial(calibrate_inputs, job), partial(_calibrate, job))
    if not job.run.stage_done(stage.name, stage.inputs()):
        run_stage(job, stage)


def _calibrate(job: Job) -> None:
    from rsam_app.model.calibration import calibrated_probabilities
    from rsam_app.run.predictions import read_logits, replace_scores

    if job.pipeline.model.second_look != job.run.load_pipeline().model.second_look:
        job.reporter.say("not calibrated: model.second_look is not that of the trained model")
        return
    splits = predicted_splits(job)
    temperature = _fit_temperature(job, _arrays(job, "val") if "val" in splits else None)
    for split in splits if temperature is not None else ():
        path = job.run.predictions / f"{split}.parquet"
        confidence = calibrated_probabilities(read_logits(path), temperature).max(axis=1)
        replace_scores(path, {CONFIDENCE: confidence})


def _arrays(job: Job, split: str) -> PredictionArrays:
    from rsam_app.evaluation.metrics.prediction_arrays import split_arrays
    from rsam_app.run.predictions import class_names, read_predictions

    table = read_predictions(job.run.predictions, [split])
    return split_arrays(table, job.measured.dataset, split, class_names(job.run))


def _fit_temperature(job: Job, validation: PredictionArrays | None) -> float | None:
    """The temperature to apply: fitted to `validation`, else the one that the model has; None without either."""
    from rsam_app.evaluation.metrics.calibration import temperature_to_apply
    from rsam_app.model.store import read_fitted, save_fitted

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
