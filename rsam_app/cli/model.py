"""Commands that train and evaluate a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rsam_app.cli.application import MODEL, TRAIN, app
from rsam_app.cli.context import job_of_pipeline, job_of_run, main_process_only, relaunched, reporter, show
from rsam_app.cli.exit_codes import BEYOND_LIMIT
from rsam_app.cli.options import (
    AnySplit,
    JsonOption,
    PipelineArgument,
    ProcessesOption,
    RunArgument,
    RunOption,
    SetOption,
    Split,
)
from rsam_app.system.errors import UserError


@app.command(rich_help_panel=TRAIN)
def run(
    pipeline: PipelineArgument,
    run: RunOption = None,
    round_: Annotated[
        bool, typer.Option("--round", help="Start a new run beside the last, trained with your latest corrections.")
    ] = False,
    set_: SetOption = None,
    processes: ProcessesOption = 1,
) -> None:
    """Train, predict, evaluate, review and select.

    Skips stages that are up to date and resumes interrupted ones.
    """
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


@app.command(rich_help_panel=TRAIN)
def train(
    pipeline: PipelineArgument,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a stopped training from its checkpoint.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Discard a stopped training and start again.")] = False,
    run: RunOption = None,
    set_: SetOption = None,
    processes: ProcessesOption = 1,
) -> None:
    """Train a pipeline into a run folder."""
    if relaunched(processes):
        return
    from rsam_app.workflow import stages
    from rsam_app.workflow.preflight import pass_preflight

    job = job_of_pipeline(pipeline, set_, run)
    pass_preflight(job, resume, restart)
    with job.run.writing_on_main():
        stages.train(job, resume, restart)


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
    from rsam_app.workflow.preflight.report import preflight_report

    report = preflight_report(job_of_pipeline(pipeline, set_, run))
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
    """Measure accuracy, calibration and localisation.

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


@app.command(rich_help_panel=MODEL)
def predict(
    run: RunArgument,
    split: Annotated[AnySplit, typer.Option(help="Images to predict.")] = "all",
    processes: ProcessesOption = 1,
    set_: SetOption = None,
) -> None:
    """Predict labels and rectangles of every image.

    Writes predictions/SPLIT.parquet.
    """
    if relaunched(processes):
        return
    from rsam_app.workflow.predict import predict as predict_splits
    from rsam_app.workflow.predict import present_splits

    job = job_of_run(run, set_)
    present = present_splits(job)
    if split not in (*present, "all"):
        raise UserError(f"--split {split}: the dataset has {', '.join(present)}; or give `all`.")
    with job.run.writing_on_main():
        predict_splits(job, present if split == "all" else [split])


@app.command("export-model", rich_help_panel=MODEL)
def export_model(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="File to create, .onnx or .pt2; must not exist.")],
    format: Annotated[
        Literal["onnx", "torch-export"] | None, typer.Option(help="Format; default: by the file's suffix.")
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N", help="Batch size: a number, or dynamic for any.")] = "dynamic",
    as_json: JsonOption = False,
) -> None:
    """Export the model to ONNX or torch.export.

    Its outputs are logits and rectangle. The written file is compared with the model.
    """
    main_process_only()
    from rsam_app.model.export import batch_of, export_model, format_of
    from rsam_app.run.folder import RunFolder

    folder = RunFolder(run)
    folder.load_pipeline()  # raises if this is not a run
    reporter().say("exporting the model and comparing the file with it ...")
    written = export_model(folder.model, out, format_of(out, format), batch_of(batch))
    show(written.as_dict() if as_json else written.text(), as_json)


def _headline(metrics: dict[str, Any]) -> str:
    lines = [
        f"{metrics['split']}: {metrics['n']} images, top-1 {metrics['top1']:.4f}, top-5 {metrics['top5']:.4f},"
        f" macro {metrics['macro_top1']:.4f}, NLL {metrics['nll']:.3f}, ECE {metrics['ece']:.3f}"
    ]
    if scores := metrics.get("localization"):
        from rsam_app.evaluation.report.headlines import overlap_lines

        lines += overlap_lines(scores)
    return "\n".join(lines)
