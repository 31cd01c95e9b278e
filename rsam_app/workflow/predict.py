"""`rsam predict`: what the run's model says about the images of a split, with its scores, as a table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rsam_app.data import SPLITS, UNLABELLED
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError
from rsam_app.system.progress import is_main_process
from rsam_app.workflow.stage_inputs import finish, is_done, predict_inputs, training_is_predicted

if TYPE_CHECKING:
    from rsam_app.evaluation.inference.score_columns import Habits
    from rsam_app.model import AttentiveClassifier


def predict(job: Job, splits: list[str]) -> None:
    """Write the predictions table, its scores and the embeddings of each split, then which of all predicted images are
    the same photograph."""
    from rsam_app.evaluation.inference.model_runner import ModelRunner
    from rsam_app.evaluation.inference.predictions_table import predictions_table
    from rsam_app.evaluation.inference.run_model import run_model
    from rsam_app.evaluation.scores.label_belief import training_belief
    from rsam_app.run.predictions import write_predictions
    from rsam_app.run.soft_masks import place_masks, prepare_masks
    from rsam_app.system.precision import choose_precision

    begun = time.perf_counter()
    model = trained_model(job)
    dataset, _ = job.corrected
    _same_classes(job, model.label_names)
    precision = choose_precision(job.pipeline.train.precision, job.accelerator.device)
    for split in splits:
        records = dataset.split(split)
        with job.reporter.counter(f"predicting {split}", len(records)) as advance:
            size, workers = job.pipeline.evaluate.batch_size, job.pipeline.train.workers
            runner = ModelRunner(model, job.accelerator.device, precision, size, workers, advance)
            outputs = run_model(runner, records, job.pipeline.evaluate.stability_views, job.pipeline.review.soft_masks)
        if is_main_process():
            path = job.run.predictions / f"{split}.parquet"
            partial = prepare_masks(path, [r.id for r in records], outputs.masks)
            believed = training_belief(job.run, [r.id for r in records]) if split == "train" else None
            table, absent = predictions_table(outputs, records, dataset, believed, _habits(job, split))
            write_predictions(path, table, outputs.embeddings)
            place_masks(path, partial)
            for score, why in absent.items():
                job.reporter.say(f"{split}: no {score}: {why}")
        finish(job, f"predict {split}", predict_inputs(job, split), begun)
        begun = time.perf_counter()
    if is_main_process():
        _find_near_duplicates(job)


def present_splits(job: Job) -> list[str]:
    """The splits that have images, those without a label included."""
    return [split for split in (*SPLITS, UNLABELLED) if job.corrected[0].split(split)]


def stale_splits(job: Job) -> list[str]:
    """The splits whose predictions are missing, or were made by another model or from other labels or images."""
    present = present_splits(job)
    stale = [split for split in present if not is_done(job, f"predict {split}", predict_inputs(job, split))]
    # Rectangles are compared with those of the training images, so what was judged without them is judged again.
    return present if "train" in stale else stale


def _find_near_duplicates(job: Job) -> None:
    """Here, since a review should not have to open the images; where nothing changed, it is a look at their times."""
    from rsam_app.data.near_duplicates.table import near_duplicates, predicted_records
    from rsam_app.run.predictions import read_columns

    ids = read_columns(job.run.predictions, ["id"]).column("id").to_pylist()
    records = predicted_records(job.original, ids)
    with job.reporter.bars() as advance:
        found = near_duplicates(job.run.near_duplicates, records, job.original.records, advance)
    for note in found.notes():
        job.reporter.say(note)


def _habits(job: Job, split: str) -> Habits:
    """What the rectangles of a split are compared with: the training split's, where they are predicted by this model.

    They are read from its predictions, so that a split predicted alone is judged as one predicted with the others.
    """
    from rsam_app.evaluation.metrics.ground_truth import image_sizes
    from rsam_app.evaluation.metrics.prediction_arrays import split_arrays
    from rsam_app.evaluation.scores.unusual_geometry import fit_habits
    from rsam_app.run.predictions import read_predictions

    if split == "train":
        return "own"
    if not training_is_predicted(job):
        return None
    dataset, _ = job.corrected
    rows = split_arrays(read_predictions(job.run.predictions, ["train"]), dataset, "train", dataset.classes)
    sizes = image_sizes(rows.records)
    return fit_habits(rows.rectangles, sizes, rows.predicted, len(dataset.classes))


def trained_model(job: Job) -> AttentiveClassifier:
    """The run's model on this process's device, with a second look where the pipeline, or its override, wants it."""
    from rsam_app.model import load_model

    model = load_model(job.run.model).to(job.accelerator.device)
    wanted = job.pipeline.model.second_look
    if wanted and model.detail == 1:
        raise UserError(
            f"{job.run.path}: this model was trained to look once.\n"
            "Train it with `--set model.second_look=true`; one that was can also be evaluated without."
        )
    model.second_look = wanted
    return model


def _same_classes(job: Job, names: Any) -> None:
    dataset, _ = job.corrected
    if tuple(names) != dataset.classes:
        raise UserError(
            f"{job.run.path}: the model knows {len(names)} classes, the dataset {dataset.name} has"
            f" {len(dataset.classes)}, and they differ. Train again, or restore the dataset."
        )
