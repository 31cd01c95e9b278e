"""Commands that make a model and measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rsam_app.cli.context import job_in, job_of, main_process_only, ran_in_processes, reporter, show
from rsam_app.cli.options import JsonOption, PipelineArgument, ProcessesOption, RunArgument, RunOption, SetOption, app
from rsam_app.system.errors import UserError


@app.command()
def run(
    pipeline: PipelineArgument,
    run: RunOption = None,
    round_: Annotated[
        bool, typer.Option("--round", help="A new run beside the last one, trained from what was decided since.")
    ] = False,
    set_: SetOption = None,
    processes: ProcessesOption = 1,
) -> None:
    """Train, evaluate, predict, review and select; what did not change is not done again, what stopped goes on."""
    if ran_in_processes(processes):
        return
    from rsam_app.workflow import rounds, stages

    job = job_in(pipeline, set_, run)
    if round_:
        job = rounds.next_round(job)
    with job.run.writing_on_main():
        if round_:
            rounds.begin_round(job)
        stages.run_all(job)
        if round_:
            rounds.end_round(job)


@app.command()
def train(
    pipeline: PipelineArgument,
    resume: Annotated[bool, typer.Option("--resume", help="Continue where a stopped run left its checkpoint.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Forget a stopped run and begin again.")] = False,
    run: RunOption = None,
    set_: SetOption = None,
    processes: ProcessesOption = 1,
) -> None:
    """Train a pipeline into a run folder."""
    if ran_in_processes(processes):
        return
    from rsam_app.workflow import stages

    job = job_in(pipeline, set_, run)
    with job.run.writing_on_main():
        stages.train(job, resume, restart)


@app.command()
def evaluate(
    run: RunArgument,
    split: Annotated[str | None, typer.Option(help="train, val or test; the pipeline's where not given.")] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Stability, use, background gap and corruptions too (minutes).")
    ] = False,
    processes: ProcessesOption = 1,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Measure a run on a split: accuracy, calibration, where it looked; writes evaluation/ with a report."""
    if ran_in_processes(processes):
        return
    from rsam_app.workflow import stages

    job = job_of(run, set_)
    with job.run.writing_on_main():
        metrics = stages.evaluate(job, split or job.pipeline.evaluate.split, robustness)
    if metrics:
        show(metrics if as_json else _headline(metrics), as_json)


@app.command()
def predict(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="train, val, test, unlabelled or all.")] = "all",
    processes: ProcessesOption = 1,
    set_: SetOption = None,
) -> None:
    """Write what the model says about every image, and where it looked, into predictions/SPLIT.parquet."""
    if ran_in_processes(processes):
        return
    from rsam_app.workflow.predict import predict as predict_splits
    from rsam_app.workflow.predict import present_splits

    job = job_of(run, set_)
    present = present_splits(job)
    if split not in (*present, "all"):
        raise UserError(f"--split {split}: the dataset has {', '.join(present)}; or take `all`.")
    with job.run.writing_on_main():
        predict_splits(job, present if split == "all" else [split])


@app.command("export-model")
def export_model(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(help="File to make, .onnx or .pt2; must not exist.")],
    format: Annotated[str | None, typer.Option(help="onnx or torch-export; by the file's suffix if not given.")] = None,
    batch: Annotated[str, typer.Option(help="Images at a time: a number, or dynamic for any.")] = "dynamic",
    as_json: JsonOption = False,
) -> None:
    """Write the model for other runtimes, logits and rectangle as outputs, and check the file against it."""
    main_process_only()
    from rsam_app.model.export import batch_of, export_model, format_of
    from rsam_app.run.folder import RunFolder

    folder = RunFolder(run)
    folder.load_pipeline()  # says so where this is no run
    reporter().say("tracing the model, writing the file and comparing both ...")
    written = export_model(folder.model, out, format_of(out, format), batch_of(batch))
    show(written.as_dict() if as_json else written.text(), as_json)


def _headline(metrics: dict[str, Any]) -> str:
    lines = [
        f"{metrics['split']}: {metrics['n']} images, top-1 {metrics['top1']:.4f}, top-5 {metrics['top5']:.4f},"
        f" macro {metrics['macro_top1']:.4f}, NLL {metrics['nll']:.3f}, ECE {metrics['ece']:.3f}"
    ]
    where = metrics.get("localization")
    if where:
        lines.append(
            f"rectangles: mean IoU {where['mean_iou']:.3f} ({100 * where['share_iou_50']:.0f} % above .5);"
            f" centre box {where['centre_box_mean_iou']:.3f}, full image {where['full_image_mean_iou']:.3f}"
        )
    return "\n".join(lines)
