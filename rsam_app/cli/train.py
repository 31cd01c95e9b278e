"""Commands that train models, evaluate them and compare runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsam_app.cli.application import TRAIN, Output, app
from rsam_app.cli.context import job_of_pipeline, job_of_run, main_process_only, recorded, relaunched, reporter, show
from rsam_app.cli.exit_codes import BEYOND_LIMIT
from rsam_app.cli.options import (
    JsonOption,
    PipelineArgument,
    ProcessesOption,
    RunArgument,
    RunOption,
    SetOption,
    Split,
)
from rsam_app.system.distributed import is_launched
from rsam_app.system.errors import UserError

if TYPE_CHECKING:
    from rsam_app.run.job import Job


@app.command(rich_help_panel=TRAIN)
def run(
    pipeline: PipelineArgument,
    run: RunOption = None,
    round_: Annotated[
        bool, typer.Option("--round", help="Start a new run beside the last, trained with your latest corrections.")
    ] = False,
    as_json: JsonOption = False,
    set_: SetOption = None,
    processes: ProcessesOption = 1,
    from_fiftyone: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Train on your FiftyOne dataset; PIPELINE may be a backbone."),
    ] = None,
    view: Annotated[str | None, typer.Option(metavar="VIEW", help="Only a saved view of that dataset.")] = None,
    label_field: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Its labels; default: ground_truth, or the only field.")
    ] = None,
) -> None:
    """Train, predict, evaluate, review and select.

    Skips stages that are up to date and resumes interrupted ones.
    """
    if from_fiftyone is not None:
        from rsam_app.workflow.from_fiftyone import pipeline_from_fiftyone

        say, read = reporter().say, not is_launched()
        pipeline, data = pipeline_from_fiftyone(
            pipeline, from_fiftyone, run, say, view=view, label=label_field, read=read
        )
        set_ = [*data, *(set_ or [])]
    elif view or label_field:
        raise UserError("rsam run: --view and --label-field belong to --from-fiftyone NAME. Name the dataset, too.")
    from rsam_app.workflow.waiting_labels import record_waiting_labels

    if not is_launched():  # before the processes of a launch read the corrections
        record_waiting_labels(job_of_pipeline(pipeline, set_, run))
    if relaunched(processes):
        return
    from rsam_app.workflow import rounds, stages
    from rsam_app.workflow.preflight import pass_preflight

    job = job_of_pipeline(pipeline, set_, run)
    if round_:
        job = rounds.next_round(job)
    pass_preflight(job, review=True)
    with job.run.writing_on_main():
        if round_:
            rounds.begin_round(job)
        stages.run_all(job)
        if round_:
            rounds.end_round(job)
    _show_run(job, as_json)


@app.command(rich_help_panel=TRAIN)
def train(
    pipeline: PipelineArgument,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a stopped training from its checkpoint.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Discard a stopped training and start again.")] = False,
    run: RunOption = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
    processes: ProcessesOption = 1,
) -> None:
    """Train a pipeline into a run folder."""
    from rsam_app.workflow.waiting_labels import record_waiting_labels

    if not is_launched():  # before the processes of a launch read the corrections
        record_waiting_labels(job_of_pipeline(pipeline, set_, run))
    if relaunched(processes):
        return
    from rsam_app.workflow import stages
    from rsam_app.workflow.preflight import pass_preflight

    job = job_of_pipeline(pipeline, set_, run)
    pass_preflight(job, resume, restart)
    with job.run.writing_on_main():
        stages.train(job, resume, restart)
    _show_run(job, as_json)


@app.command(rich_help_panel=TRAIN)
def check(
    pipeline: PipelineArgument,
    run: RunOption = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Check a pipeline before training; write nothing.

    Prints what will be used, what is left out, what is wrong, and the expected time and disk space.
    """
    main_process_only()
    from rsam_app.run.job import Job
    from rsam_app.system.progress import BarReporter
    from rsam_app.workflow.preflight.report import preflight_report

    report = preflight_report(Job.of_pipeline(pipeline, set_ or [], run, BarReporter(Output.quiet)))
    show(report.as_dict() if as_json else report.text(), as_json)
    if report.problems:
        raise typer.Exit(2)


@app.command(rich_help_panel=TRAIN)
def evaluate(
    run: RunArgument,
    split: Annotated[Split | None, typer.Option(help="Split to evaluate; default: the pipeline's.")] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Measure stability, use, background gap and corruptions too (minutes).")
    ] = False,
    processes: ProcessesOption = 1,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Measure accuracy, calibration and localization.

    Writes metrics and a report of one split into evaluation/.
    """
    if relaunched(processes):
        return
    from rsam_app.workflow import stages

    job = job_of_run(run, set_)
    with job.run.writing_on_main():
        metrics = stages.evaluate(job, split or job.evaluated_split, robustness)
    if metrics:
        show(metrics if as_json else _headline(metrics), as_json)


@app.command(rich_help_panel=TRAIN)
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Run folder of the earlier model.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Run folder of the later model.")],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of page and JSON; default: RUN_B/compare-with-NAME_OF_A."),
    ] = None,
    max_attention_drop: Annotated[
        float | None,
        typer.Option(metavar="IOU", help="Exit with code 3 if the mean IoU with the truth fell by more than this."),
    ] = None,
    changes: Annotated[
        bool, typer.Option("--changes", help="Write how each image changed into FiftyOne, for `rsam review`.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two evaluated runs, image by image.

    Writes a page and JSON. Differences are those of RUN_B from RUN_A.
    """
    main_process_only()
    from rsam_app.workflow import compare as comparing

    first, second = job_of_run(run_a, None), job_of_run(run_b, None)
    comparison = comparing.compare(first, second, output, max_attention_drop)
    show(comparison.figures if as_json else comparison.text(), as_json)
    if changes:
        second.reporter.say(comparing.write_changes(comparison, first, second))
    if comparison.exceeds_limit:
        typer.echo(f"rsam: {comparison.limit_line()}.\nSee {comparison.page}", err=True)
        raise typer.Exit(BEYOND_LIMIT)


@app.command(rich_help_panel=TRAIN)
def adopt(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="File of weights, local-dir:FOLDER, hf-hub:NAME, or timm's name of pretrained weights.",
        ),
    ],
    data: Annotated[str, typer.Option("--data", metavar="CARD", help="Card of the dataset: its name or file.")],
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="Run folder; default: runs/CARD-adopted.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="NAME", help="timm's name of the network, if the file does not say.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names of the checkpoint's outputs, in order, one a line.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a run of a classifier trained elsewhere.

    Keeps its head; its rectangle is that of its class map. Predicts and evaluates; then review and select.
    """
    main_process_only()
    from rsam_app.workflow.adopt import adopt as adopt_checkpoint

    job = adopt_checkpoint(checkpoint, data, run, backbone, classes, reporter())
    if as_json:
        _show_run(job, as_json)
    else:
        typer.echo(f"{job.run.path}: next, `rsam review {job.run.path}` or `rsam select {job.run.path}`")


@app.command(rich_help_panel=TRAIN)
def simulate(
    pipeline: PipelineArgument,
    strategies: Annotated[
        str, typer.Option(metavar="STRATEGIES", help="Comma-separated; `random` is always included.")
    ] = "auto,typiclust,diverse_margin,margin,badge,k_center,entropy,random",
    rounds: Annotated[int, typer.Option(metavar="N", help="Rounds after the initial labels.")] = 8,
    budget: Annotated[int, typer.Option(metavar="N", help="Labels per round.")] = 50,
    start: Annotated[int | None, typer.Option(metavar="N", help="Initial labels; default: the budget.")] = None,
    seeds: Annotated[int, typer.Option(metavar="N", help="Number of repetitions.")] = 10,
    pool_share: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the images that each seed chooses from.")
    ] = 0.9,
    noise: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Plant this share of wrong labels instead, and measure how they are found."),
    ] = None,
    run: RunOption = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Simulate label-efficiency curves with an oracle.

    Trains on features of the frozen backbone. Writes simulation/.
    """
    main_process_only()
    from rsam_app.workflow.simulate import simulate_label_errors, simulate_rounds

    job = job_of_pipeline(pipeline, set_, run)
    with job.run.writing():
        if noise is not None:
            result = simulate_label_errors(job, noise, seeds)
        else:
            given = [name.strip() for name in strategies.split(",") if name.strip()]
            names = tuple(dict.fromkeys([*given, "random"]))
            result = simulate_rounds(job, names, rounds, budget if start is None else start, budget, seeds, pool_share)
    show(result.summary if as_json else result.text, as_json)


def _show_run(job: Job, as_json: bool) -> None:
    """Print what the run has recorded as JSON if asked to."""
    from rsam_app.system.progress import is_main_process

    if as_json and is_main_process():
        show(recorded(job), as_json)


def _headline(metrics: dict[str, Any]) -> str:
    lines = [
        f"{metrics['split']}: {metrics['n']} images, top-1 {metrics['top1']:.4f}, top-5 {metrics['top5']:.4f},"
        f" macro {metrics['macro_top1']:.4f}, NLL {metrics['nll']:.3f}, ECE {metrics['ece']:.3f}"
    ]
    from rsam_app.evaluation.report.headlines import overlap_lines, selective_line, taxonomy_lines

    lines.append(selective_line(metrics))
    if temperature := metrics["calibration"]["temperature"]:
        lines.append(
            f"temperature {temperature:.3f}, fitted to val: NLL {metrics['calibration']['nll_scaled']:.3f},"
            f" ECE {metrics['calibration']['ece_scaled']:.3f} with it"
        )
    if hierarchy := metrics.get("taxonomy"):
        lines += taxonomy_lines(hierarchy)
    if scores := metrics.get("localization"):
        lines += overlap_lines(scores)
    return "\n".join(lines)
