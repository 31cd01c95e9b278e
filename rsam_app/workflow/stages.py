"""The stages of a run: train → predict → evaluate → review → select."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsam_app.config import SelectConfig
from rsam_app.data import UNLABELLED
from rsam_app.run.folder import RunFolder, environment
from rsam_app.run.job import Job
from rsam_app.run.replaced import forget_finished, keep_finished, restore_finished
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically
from rsam_app.system.progress import is_main_process
from rsam_app.workflow.calibrate import calibrate
from rsam_app.workflow.predict import load_trained_model, predict, present_splits, stale_splits
from rsam_app.workflow.preflight.stopped_training import is_stopped, resume_problem
from rsam_app.workflow.preflight.untrained_classes import refuse_untrained
from rsam_app.workflow.stage import Stage, from_main, is_done, run_if_changed, run_stage
from rsam_app.workflow.stage_inputs import evaluate_inputs, review_inputs, select_inputs, train_inputs

if TYPE_CHECKING:
    from rsam_app.data import Dataset
    from rsam_app.review.remove import Removed
    from rsam_app.review.write_back import WrittenBack


UNMEASURED = (
    "not evaluated: no labelled image could be held out. Label a second image of a class, better five of each;"
    " predictions, review and queue are of use without figures"
)


def run_all(job: Job) -> None:
    """Run every stage whose inputs changed since it finished, in order; resume a stopped training.

    Raises `UserError` before training if the split to evaluate has no images. While only a few of many images have a
    label, none may be held out: then nothing is evaluated, which is reported.
    """
    train_and_evaluate(job)
    run_if_changed(job, _reviewing(job))
    run_if_changed(job, _selection(job, job.pipeline.select))


def train_and_evaluate(job: Job) -> None:
    """As `run_all`, without the stages that use FiftyOne."""
    job.require_evaluated()
    run_if_changed(job, _training(job, resume=True, restart=True))
    predict_and_evaluate(job)


def predict_and_evaluate(job: Job) -> None:
    """Predict the splits whose predictions are out of date, and evaluate, in a run that has a model."""
    if stale := from_main(job, stale_splits(job)):
        predict(job, stale)
    elif is_main_process():
        calibrate(job)  # predictions of an earlier version are not
    if not job.is_unmeasured:
        run_if_changed(job, _evaluation(job, job.evaluated_split))
    elif is_main_process():
        shutil.rmtree(job.run.evaluation, ignore_errors=True)  # it is of an earlier model
        job.reporter.say(UNMEASURED)


def train(job: Job, resume: bool = False, restart: bool = False) -> None:
    """Train the job's pipeline into its run; with `resume`, do nothing if training is complete.

    Raises `UserError` if a training stopped in this run, and neither `resume` nor `restart` is set.
    """
    stage = _training(job, resume, restart)
    done = is_done(job, stage)  # reads the images, which is not to count as training time
    if done and resume and not restart:
        job.reporter.say(f"{job.run.path}: training is already complete; use --restart to retrain")
    else:
        run_stage(job, stage)


def _training(job: Job, resume: bool, restart: bool) -> Stage[None]:
    return Stage("train", partial(train_inputs, job), partial(_train, job, resume, restart), every_process=True)


def _train(job: Job, resume: bool, restart: bool) -> None:
    from rsam_app.training.checkpoint import check_checkpoint, find_checkpoint
    from rsam_app.training.trackers import require_trackers

    dataset = job.corrected.dataset
    dataset.require("train")
    refuse_untrained(job, dataset)
    require_trackers(job.pipeline.train.trackers)
    if problem := from_main(job, resume_problem(job, resume, restart, dataset)):
        raise UserError(problem)
    continued = from_main(job, resume and is_stopped(job.run))
    if continued and (last := find_checkpoint(job.run.checkpoints / "last")):
        check_checkpoint(last)
    replaces = from_main(job, "train" in job.run.finished_stages)
    job.accelerator.wait_for_everyone()  # all have read the run folder before the main process changes it
    if is_main_process():
        job.run.refuse_foreign(job.pipeline.name)
        if replaces and (resume or not restart):
            job.reporter.say(f"the finished run is kept in {keep_finished(job.run)} until the new one is trained")
        if not continued:
            _clear(job)
        job.run.save_pipeline(job.pipeline)
        job.run.update_json(
            **environment(),
            seed=job.pipeline.seed,
            data={
                "name": dataset.name,
                "fingerprint": dataset.fingerprint,
                "records": len(dataset.records),
                "learns_from": job.learns_from,
                **job.left_out(dataset),
                "trained_on": {},
            },
            training_inputs=train_inputs(job),
        )
    job.report_weights()
    job.accelerator.wait_for_everyone()
    with _restored_if_lost(job):
        _train_model(job, dataset, continued)
    if is_main_process():
        forget_finished(job.run)


def _train_model(job: Job, dataset: Dataset, continued: bool) -> None:
    from rsam_app.training.loop import train as train_model

    images = len(dataset.split("train")) * job.pipeline.train.epochs
    with job.reporter.counter("training", images) as advance:
        train_model(job, train_inputs(job), continued, advance)


@contextmanager
def _restored_if_lost(job: Job) -> Iterator[None]:
    """Restore the finished run that was to be replaced if the new training ends before its first checkpoint."""
    try:
        yield
    except BaseException:
        if is_main_process() and not is_stopped(job.run) and restore_finished(job.run):
            job.reporter.say(f"{job.run.path}: the finished run is restored")
        raise


def _clear(job: Job) -> None:
    """Remove the stages, chosen look, log, checkpoints and predictions of an earlier training."""
    content = job.run.read_json()
    if any([content.pop(key, None) is not None for key in ("stages", "second_look", "adopted")]):
        write_atomically(job.run.path / "run.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    for folder in (job.run.checkpoints, job.run.predictions):
        shutil.rmtree(folder, ignore_errors=True)
    job.run.metrics_log.unlink(missing_ok=True)


def evaluate(job: Job, split: str, robustness: bool = False) -> dict[str, Any]:
    """Write metrics and report of a split, from predictions that are made first if missing or stale.

    With `robustness`, or if the pipeline sets it, robustness is measured too. All processes predict; the main process
    alone evaluates, so that results do not depend on the number of processes. The others get an empty dictionary.
    """
    present = present_splits(job)
    if split in job.measured.moved and split not in present:
        raise UserError(
            f"{job.run.path}: this run was trained on all {len(job.measured.moved[split]):,} images that"
            f" {job.original.name} has in {split} now.\nAdd {split} images that it has not seen, or train again."
        )
    if split not in present or split == UNLABELLED:
        labelled = ", ".join(name for name in present if name != UNLABELLED)
        raise UserError(
            f"{job.run.path}: the dataset {job.original.name} has no {split} split (has: {labelled}).\n"
            "Give another with --split, or add images to it."
        )
    predict(job, from_main(job, stale_splits(job)))
    return run_stage(job, _evaluation(job, split, robustness)) if is_main_process() else {}


def _evaluation(job: Job, split: str, robustness: bool = False) -> Stage[dict[str, Any]]:
    return Stage("evaluate", partial(evaluate_inputs, job, split), partial(_evaluate, job, split, robustness))


def _evaluate(job: Job, split: str, robustness: bool) -> dict[str, Any]:
    from rsam_app.evaluation.metrics.summary import evaluate_predictions
    from rsam_app.evaluation.report.write import write_report
    from rsam_app.run.predictions import read_predictions

    dataset = job.measured.dataset
    table = read_predictions(job.run.predictions, [name for name in present_splits(job) if name != UNLABELLED])
    metrics = evaluate_predictions(table, dataset, split, sure_accuracy=job.pipeline.evaluate.sure_accuracy)
    metrics["trained_on"] = list(job.measured.moved.get(split, ()))
    _add_observed(job, metrics, split, robustness or job.pipeline.evaluate.robustness)
    write_atomically(job.run.evaluation / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    report = write_report(job.run.evaluation, metrics, table, dataset, job.run.metrics_log)
    job.reporter.say(f"{split}: top-1 {100 * metrics['top1']:.1f} % of {metrics['n']:,} images")
    job.reporter.say(f"report: {report}")
    return metrics


def _add_observed(job: Job, metrics: dict[str, Any], split: str, robustness: bool) -> None:
    """Add metrics that need the model: Grad-CAM's localization for models without attention, and robustness."""
    from rsam_app.evaluation.inference.model_runner import ModelRunner
    from rsam_app.evaluation.metrics.summary import without_nan
    from rsam_app.evaluation.robustness.measure import PASSES, SECTIONS, grad_cam_localization, measure_robustness
    from rsam_app.system.precision import choose_precision

    absent: dict[str, str] = metrics["absent"]
    plain = job.pipeline.model.attention == "none"
    if not robustness:
        remedy = f"needs many forward passes per image: `rsam evaluate {job.run.path} --robustness` measures it"
        absent |= dict.fromkeys(SECTIONS, remedy)
    if not robustness and not plain:
        return
    dataset = job.measured.dataset
    settings, device = job.pipeline.evaluate, job.accelerator.device
    precision = choose_precision(job.pipeline.train.precision, device)
    runner = ModelRunner(load_trained_model(job), device, precision, settings.batch_size)
    records = dataset.split(split)
    if plain:
        with job.reporter.counter("Grad-CAM", len(records)) as advance:
            measured, missing = grad_cam_localization(replace(runner, advance=advance), dataset, split)
        metrics |= without_nan(measured)
        absent |= missing
    if robustness:
        images = min(settings.robustness_images, len(records))
        with job.reporter.counter("robustness", PASSES * images) as advance:
            watched = replace(runner, advance=advance)
            measured, missing = measure_robustness(watched, dataset, split, images, job.pipeline.seed)
        metrics |= without_nan(measured)
        absent |= missing


def review(job: Job) -> str:
    """Write the run into FiftyOne; returns the dataset's name."""
    return run_stage(job, _reviewing(job))


def remove_review(job: Job) -> Removed:
    """Remove all of RSAM's from the user's dataset that the run is reviewed in; its runs forget that dataset."""
    from rsam_app.review.remove import remove

    if job.pipeline.review.into is None:
        raise UserError(f"{job.run.path}: is reviewed in a dataset of its own. Name yours: --into NAME --remove.")
    removed = remove(job.pipeline.review.into)
    for run in {job.run.path.resolve(), *map(Path, removed.runs)}:
        _forget_into(RunFolder(run), removed.dataset)
    return removed


def write_back(job: Job, wanted: Sequence[str]) -> WrittenBack:
    """Write decisions into fields of the user's, each given as `KIND=FIELD`."""
    from rsam_app.review.write_back import write_back

    return write_back(job.review_dataset, wanted)


def _forget_into(run: RunFolder, dataset: str) -> None:
    """Make a run that was reviewed in the user's dataset one that is not reviewed yet."""
    if not run.config_path.exists():
        return
    pipeline = run.load_pipeline()
    if pipeline.review.into == dataset:
        run.save_pipeline(pipeline.model_copy(update={"review": pipeline.review.model_copy(update={"into": None})}))
    run.update_json(stages={"review": {}})


def _reviewing(job: Job) -> Stage[str]:
    return Stage("review", partial(review_inputs, job), partial(_review, job))


def _review(job: Job) -> str:
    from rsam_app.review.writing.write_run import write_run

    with job.reporter.bars() as advance:
        writing = partial(advance, "writing into FiftyOne")
        settings = job.pipeline.review
        report = write_run(
            job.run,
            job.original,
            settings.key,
            writing,
            advance,
            settings.all_panels,
            settings.into,
            settings.text_model,
        )
    job.reporter.say(
        f"FiftyOne dataset {report.dataset!r}: {report.added} added, {report.updated} updated,"
        f" {report.unchanged} unchanged, {report.kept} left as the reviewer changed them"
    )
    for note in report.notes:
        job.reporter.say(note)
    return job.review_dataset


def select(job: Job, settings: SelectConfig, tag: bool = True) -> Any:
    """Choose the images to review next, write them into the run, and tag them in FiftyOne; returns the selection."""
    return run_stage(job, _selection(job, settings, tag))


def _selection(job: Job, settings: SelectConfig, tag: bool = True) -> Stage[Any]:
    return Stage("select", partial(select_inputs, job, settings), partial(_select, job, settings, tag))


def _select(job: Job, settings: SelectConfig, tag: bool) -> Any:
    from rsam_app.review.tagging import select_and_tag

    chosen, added = select_and_tag(job.run, job.review_dataset, settings, job.pipeline.seed, tag, job.card.name)
    if tag:
        job.reporter.say(f"{len(chosen.ids)} images chosen; {added} newly tagged {settings.tag!r} in FiftyOne")
    return chosen


def replay_selection(job: Job, manifest: Path, tag: str | None) -> Any:
    """Repeat the selection of a manifest on the same predictions; with `tag`, tag the images. Returns the selection."""
    from rsam_app.review.tagging import replay_and_tag

    chosen, added = replay_and_tag(job.run, job.review_dataset, manifest, tag)
    if tag is not None:
        job.reporter.say(f"{len(chosen.ids)} images chosen again; {added} newly tagged {tag!r} in FiftyOne")
    return chosen
