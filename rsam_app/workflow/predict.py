"""`rsam predict`: the predictions table of each split, with its scores and embeddings."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

from rsam_app.data import SPLITS, UNLABELLED
from rsam_app.run.job import Job
from rsam_app.system.errors import UserError
from rsam_app.system.progress import is_main_process
from rsam_app.workflow.calibrate import calibrate
from rsam_app.workflow.stage import Stage, run_stage
from rsam_app.workflow.stage_inputs import predict_inputs, training_is_predicted

if TYPE_CHECKING:
    from rsam_app.evaluation.inference.score_columns import Habits
    from rsam_app.model import AttentiveClassifier


def predict(job: Job, splits: list[str]) -> None:
    """Write predictions, scores and embeddings of each split, then the near-duplicates among all predicted images.

    Images that the model was trained on are predicted with `train`, even if they are in another split by now.
    Raises `UserError` if the model has other classes than the dataset, or the run no model.
    """
    model = load_trained_model(job)
    _check_classes(job, model)
    if is_main_process():
        job.run.update_json(data=job.left_out(job.original) | {"trained_on": job.measured.moved})
    for split in splits:
        inputs, work = partial(predict_inputs, job, split), partial(_predict_split, job, model, split)
        run_stage(job, Stage(f"predict {split}", inputs, work, every_process=True))
    if is_main_process():
        if not job.measured.dataset.split(UNLABELLED):
            _remove_table(job, UNLABELLED)  # its images have labels by now
        calibrate(job, again=bool(splits))
        _find_near_duplicates(job)


def present_splits(job: Job) -> list[str]:
    """The splits that have images for the run's model, `unlabelled` included."""
    return [split for split in (*SPLITS, UNLABELLED) if job.measured.dataset.split(split)]


def stale_splits(job: Job) -> list[str]:
    """The splits whose predictions are missing, or come from another model, other labels or other images."""
    present = present_splits(job)
    stale = [split for split in present if not job.run.stage_done(f"predict {split}", predict_inputs(job, split))]
    # The rectangles of other splits are compared with those of the training images.
    return present if "train" in stale else stale


def _predict_split(job: Job, model: AttentiveClassifier, split: str) -> None:
    from rsam_app.evaluation.inference.model_runner import ModelRunner
    from rsam_app.evaluation.inference.predictions_table import predictions_table
    from rsam_app.evaluation.inference.run_model import run_model
    from rsam_app.evaluation.scores.label_belief import training_belief
    from rsam_app.run.predictions import write_predictions
    from rsam_app.run.soft_masks import place_masks, prepare_masks
    from rsam_app.system.precision import choose_precision

    dataset = job.measured.dataset
    records = dataset.split(split)
    precision = choose_precision(job.pipeline.train.precision, job.accelerator.device)
    with job.reporter.counter(f"predicting {split}", len(records)) as advance:
        size, workers = job.pipeline.evaluate.batch_size, job.pipeline.train.workers
        runner = ModelRunner(model, job.accelerator.device, precision, size, workers, advance)
        outputs = run_model(runner, records, job.pipeline.evaluate.stability_views, job.pipeline.review.soft_masks)
    if not is_main_process():
        return
    path = job.run.predictions / f"{split}.parquet"
    partial_masks = prepare_masks(path, [r.id for r in records], outputs.masks)
    believed = training_belief(job.run, [r.id for r in records]) if split == "train" else None
    table, absent = predictions_table(outputs, records, dataset, believed, _habits(job, split))
    write_predictions(path, table, outputs.embeddings)
    place_masks(path, partial_masks)
    for score, why in absent.items():
        job.reporter.say(f"{split}: no {score}: {why}")


def _remove_table(job: Job, split: str) -> None:
    from rsam_app.run.predictions import embeddings_path
    from rsam_app.run.soft_masks import masks_folder

    path = job.run.predictions / f"{split}.parquet"
    for file in (embeddings_path(path), path):
        file.unlink(missing_ok=True)
    shutil.rmtree(masks_folder(path), ignore_errors=True)


def _find_near_duplicates(job: Job) -> None:
    """Done here so that a review need not open the images; if nothing changed, it only reads their times."""
    from rsam_app.data.near_duplicates.table import near_duplicates, predicted_records
    from rsam_app.run.predictions import read_columns

    ids = read_columns(job.run.predictions, ["id"]).column("id").to_pylist()
    records = predicted_records(job.original, ids)
    with job.reporter.bars() as advance:
        duplicates = near_duplicates(job.run.near_duplicates, records, job.original.records, advance)
    for note in duplicates.notes():
        job.reporter.say(note)


def _habits(job: Job, split: str) -> Habits:
    """The training split's rectangles, to compare those of a split with, if this model predicted them.

    They are read from the predictions, so that a split gets the same scores alone and together with others.
    """
    from rsam_app.evaluation.metrics.ground_truth import image_sizes
    from rsam_app.evaluation.metrics.prediction_arrays import split_arrays
    from rsam_app.evaluation.scores.unusual_geometry import fit_habits
    from rsam_app.run.predictions import read_predictions

    if split == "train":
        return "own"
    if not training_is_predicted(job):
        return None
    dataset = job.measured.dataset
    rows = split_arrays(read_predictions(job.run.predictions, ["train"]), dataset, "train", dataset.classes)
    sizes = image_sizes(rows.records)
    return fit_habits(rows.rectangles, sizes, rows.predicted, len(dataset.classes)) or "too few"


def load_trained_model(job: Job) -> AttentiveClassifier:
    """The run's model on this process's device, with a second look if the pipeline or an override asks for it."""
    from rsam_app.evaluation.inference.trained_model import network_of
    from rsam_app.model.fold_batch_norms import fold_batch_norms

    return fold_batch_norms(network_of(job.run, job.pipeline.model.second_look)).to(job.accelerator.device)


def _check_classes(job: Job, model: AttentiveClassifier) -> None:
    dataset, names = job.measured.dataset, tuple(model.label_names)
    if names != dataset.classes:
        raise UserError(
            f"{job.run.path}: the model has {len(names)} classes, the dataset {dataset.name} has"
            f" {len(dataset.classes)}, and they differ. Train again, or restore the dataset."
        )
