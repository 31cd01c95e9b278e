"""The stages of a run: train → evaluate → predict → review → select. Each knows what it was made from; a stage whose
inputs did not change is not done again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rsam_app.config import Pipeline, SelectConfig
from rsam_app.data import UNLABELLED
from rsam_app.run.folder import environment
from rsam_app.run.job import Job
from rsam_app.system.distributed.agreement import of_main
from rsam_app.system.distributed.rank import current_rank
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically
from rsam_app.system.progress import is_main_process
from rsam_app.workflow.predict import predict, present_splits, stale_splits, trained_model
from rsam_app.workflow.stage_inputs import evaluate_inputs, finish, is_done, review_inputs, select_inputs, train_inputs

if TYPE_CHECKING:
    from rsam_app.data import Dataset

T = TypeVar("T")


def train(job: Job, resume: bool = False, restart: bool = False) -> None:
    """Train the job's pipeline into its run; with `resume`, nothing where that is done. Raises `UserError` where a
    stopped run waits for `resume` or `restart`."""
    from rsam_app.training.checkpoint import find_checkpoint
    from rsam_app.training.loop import train as train_model
    from rsam_app.training.trackers import require_trackers

    inputs = train_inputs(job)
    if resume and not restart and _of_main(job, is_done(job, "train", inputs)):
        job.reporter.say(f"{job.run.path}: is trained to its end; --restart begins again")
        return
    trained = job.run.read_json().get("stages", {}).get("train")
    waiting = _of_main(job, bool(find_checkpoint(job.run.checkpoints / "last") and not trained))
    if waiting and not (resume or restart):
        raise UserError(
            f"{job.run.path}: a training run stopped here before its end.\n"
            f"Continue it with `rsam train {job.pipeline.name} --resume`, or begin again with --restart."
        )
    dataset, rectangles = job.corrected
    dataset.require("train")
    require_trackers(job.pipeline.train.trackers)
    begun = time.perf_counter()
    job.accelerator.wait_for_everyone()  # all have seen what is there before the main process changes it
    if is_main_process():
        job.run.save_pipeline(job.pipeline)
        if not (resume and waiting):
            _forget(job)
        job.run.update_json(
            **environment(),
            seed=job.pipeline.seed,
            data={
                "name": dataset.name,
                "fingerprint": dataset.fingerprint,
                "records": len(dataset.records),
                "learns_from": job.learns_from,
            },
        )
    job.accelerator.wait_for_everyone()
    images = len(dataset.split("train")) * job.pipeline.train.epochs
    with job.reporter.counter("training", images) as advance, _images_at_hand(job.pipeline, dataset, job.reporter.say):
        args = (job.pipeline, job.run, dataset, rectangles, inputs, job.accelerator, bool(resume and waiting))
        train_model(*args, job.reporter.say, advance)
    finish(job, "train", inputs, begun)


def _images_at_hand(pipeline: Pipeline, dataset: Dataset, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """Decoded images are kept while training looks at them over and over, not where feature maps are."""
    from rsam_app.data.images.cache import caching_images
    from rsam_app.training.features.frozen import wanted_views

    if wanted_views(pipeline):
        return nullcontext()
    return caching_images([*dataset.split("train"), *dataset.split("val")], pipeline.model.input_side, say)


def evaluate(job: Job, split: str, robustness: bool = False) -> dict[str, Any]:
    """Metrics and report of a split, from predictions made where they are missing or stale.

    With `robustness`, or where the pipeline asks for it, what takes many looks at each image too. The main process
    does it all, so that figures do not depend on the number of processes.
    """
    from rsam_app.evaluation.metrics.summary import evaluate_predictions
    from rsam_app.evaluation.report.write import write_report
    from rsam_app.run.predictions import read_predictions

    dataset, _ = job.corrected
    present = [name for name in present_splits(job) if name != UNLABELLED]
    if split not in present:
        raise UserError(f"{job.run.path}: the dataset {dataset.name} has no {split} split (has: {', '.join(present)}).")
    predict(job, _of_main(job, stale_splits(job)))
    if not is_main_process():
        return {}
    begun = time.perf_counter()
    table = read_predictions(job.run.predictions, present)
    metrics = evaluate_predictions(table, dataset, split)
    _rescan(job, metrics, split, robustness or job.pipeline.evaluate.robustness)
    write_atomically(job.run.evaluation / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    report = write_report(job.run.evaluation, metrics, table, dataset, job.run.metrics_log)
    job.reporter.say(f"report: {report}")
    job.run.finish_stage("evaluate", evaluate_inputs(job, split), time.perf_counter() - begun)
    return metrics


def _rescan(job: Job, metrics: dict[str, Any], split: str, robustness: bool) -> None:
    """Add to `metrics` what the predictions table does not hold: Grad-CAM's localisation, and robustness if asked."""
    from rsam_app.evaluation.inference.model_runner import ModelRunner
    from rsam_app.evaluation.metrics.summary import without_nan
    from rsam_app.evaluation.robustness.measure import PASSES, SECTIONS, grad_cam_localization, measure_robustness
    from rsam_app.system.precision import choose_precision

    absent: dict[str, str] = metrics["absent"]
    plain = job.pipeline.model.attention == "none"
    if not robustness:
        remedy = "takes many looks at each image: `rsam evaluate RUN --robustness` measures it"
        absent |= dict.fromkeys(SECTIONS, remedy)
    if not robustness and not plain:
        return
    dataset, _ = job.corrected
    settings, device = job.pipeline.evaluate, job.accelerator.device
    precision = choose_precision(job.pipeline.train.precision, device)
    runner = ModelRunner(trained_model(job), device, precision, settings.batch_size)
    records = dataset.split(split)
    if plain:
        with job.reporter.counter("Grad-CAM", len(records)) as advance:
            found, why = grad_cam_localization(replace(runner, advance=advance), dataset, split)
        metrics |= without_nan(found)
        absent |= why
    if robustness:
        images = min(settings.robustness_images, len(records))
        with job.reporter.counter("robustness", PASSES * images) as advance:
            watched = replace(runner, advance=advance)
            found, why = measure_robustness(watched, dataset, split, images, job.pipeline.seed)
        metrics |= without_nan(found)
        absent |= why


def review(job: Job) -> str:
    """Write the run into FiftyOne; returns the dataset's name."""
    from rsam_app.review.writing.write_run import write_run

    begun = time.perf_counter()
    with job.reporter.bars() as advance:
        writing = partial(advance, "writing into FiftyOne")
        report = write_run(job.run, job.original, job.pipeline.review.key, writing, advance)
    job.reporter.say(
        f"FiftyOne dataset {report.dataset!r}: {report.added} added, {report.updated} updated,"
        f" {report.unchanged} unchanged, {report.kept} kept as a person moved them"
    )
    for note in report.notes:
        job.reporter.say(note)
    job.run.finish_stage("review", review_inputs(job), time.perf_counter() - begun)
    return job.original.name


def select(job: Job, settings: SelectConfig, tag: bool = True) -> Any:
    """Choose the images to look at next, write them into the run and tag them in FiftyOne; returns the selection."""
    from rsam_app.review.tagging import select_and_tag

    begun = time.perf_counter()
    chosen, added = select_and_tag(job.run, job.card.name, settings, job.pipeline.seed, tag)
    if tag:
        job.reporter.say(f"{len(chosen.ids)} images chosen; {added} newly tagged {settings.tag!r} in FiftyOne")
    job.run.finish_stage("select", select_inputs(job, settings), time.perf_counter() - begun)
    return chosen


def select_again(job: Job, manifest: Path, tag: str | None) -> Any:
    """Choose what a selection's manifest chose, from the same predictions, and tag it where a tag is given."""
    from rsam_app.review.tagging import replay_and_tag

    chosen, added = replay_and_tag(job.run, job.card.name, manifest, tag)
    if tag is not None:
        job.reporter.say(f"{len(chosen.ids)} images chosen again; {added} newly tagged {tag!r} in FiftyOne")
    return chosen


def run_all(job: Job) -> None:
    """Every stage whose inputs changed since it was last done, in order, resuming a stopped training."""
    if not _of_main(job, is_done(job, "train", train_inputs(job))):
        train(job, resume=True, restart=True)
    split = job.pipeline.evaluate.split
    stages: list[tuple[str, str, Callable[[], object]]] = [
        ("evaluate", evaluate_inputs(job, split), lambda: evaluate(job, split)),
        ("review", review_inputs(job), lambda: review(job)),
        ("select", select_inputs(job, job.pipeline.select), lambda: select(job, job.pipeline.select)),
    ]
    for name, inputs, work in stages:
        if name != "evaluate" and not is_main_process():
            continue
        done = is_done(job, name, inputs)
        if _of_main(job, done) if name == "evaluate" else done:  # only the main process comes to the others
            job.reporter.say(f"{name}: nothing changed")
        else:
            work()


def _of_main(job: Job, value: T) -> T:
    """The main process's `value`, on every process."""
    return value if current_rank() is None else of_main(job.accelerator, value)


def _forget(job: Job) -> None:
    """A run that begins again has no stages, log, checkpoints or predictions of the run before."""
    content = job.run.read_json()
    content.pop("stages", None)
    write_atomically(job.run.path / "run.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    for folder in (job.run.checkpoints, job.run.predictions):
        shutil.rmtree(folder, ignore_errors=True)
    job.run.metrics_log.unlink(missing_ok=True)
