"""Commands that use a trained model: on photographs, in other programs, on the hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from rsam_app.cli.application import MODEL, app
from rsam_app.cli.context import job_of_run, main_process_only, relaunched, reporter, show
from rsam_app.cli.options import AnySplit, JsonOption, ProcessesOption, RunArgument, SetOption
from rsam_app.cli.streams import reader_left
from rsam_app.system.errors import UserError


@app.command(rich_help_panel=MODEL)
def predict(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Run folder; with PATHs also a model's folder or hf-hub:NAME.")
    ],
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH]...", help="Photographs, folders, globs, addresses; - reads a list from stdin."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With PATHs: file of one row an image, .csv, .jsonl or .parquet."),
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With PATHs: save each picture with its rectangle drawn.")
    ] = None,
    as_json: JsonOption = False,
    split: Annotated[AnySplit, typer.Option(help="Without PATHs: images to predict.")] = "all",
    processes: ProcessesOption = 1,
    set_: SetOption = None,
) -> None:
    """Predict classes and rectangles.

    With PATHs, of these photographs, without dataset or database; otherwise, of the run's dataset, into
    predictions/SPLIT.parquet.
    """
    if paths:
        _predict_photographs(
            run, paths, output, draw, as_json, only_splits=bool(set_) or processes > 1 or split != "all"
        )
        return
    if relaunched(processes):
        return
    from rsam_app.workflow.predict import predict as predict_splits
    from rsam_app.workflow.predict import present_splits

    if output or draw or as_json:
        raise UserError("--output, --draw and --json need PATHs: photographs or folders after RUN.")
    job = job_of_run(Path(run), set_)
    present = present_splits(job)
    if split not in (*present, "all"):
        raise UserError(f"--split {split}: the dataset has {', '.join(present)}; or give `all`.")
    with job.run.writing_on_main():
        predict_splits(job, present if split == "all" else [split])


def _predict_photographs(
    run: str, paths: list[str], output: Path | None, draw: Path | None, as_json: bool, only_splits: bool
) -> None:
    from contextlib import ExitStack

    from rsam_app.evaluation.inference.trained_model import load
    from rsam_app.system.allocator import retain_freed_memory
    from rsam_app.workflow import predict_photographs as photographs

    if only_splits:
        raise UserError("--split, --processes and --set are for the run's own dataset: leave them out, or the PATHs.")
    listed = photographs.listed_photographs(paths, sys.stdin)
    reporting = reporter()
    with ExitStack() as stack:
        echo = typer.echo if output or draw else _echo_to_reader
        writers = [photographs.terminal_lines(as_json, echo)] if as_json or not output else []
        writers += [stack.enter_context(photographs.row_writer(output))] if output else []
        writers += [photographs.Pictures(draw)] if draw else []
        retain_freed_memory()
        model = load(run)
        advance = stack.enter_context(reporting.counter("predicting", len(listed))) if output else lambda images: None
        count = photographs.predict_photographs(
            model,
            listed,
            photographs.all_of(writers),
            lambda skipped: reporting.say(photographs.broken_line(skipped)),
            advance,
        )
        if not count.answered:
            raise UserError("no photograph could be read. Give others.")
    if output or count.broken:
        reporting.say(photographs.closing_line(count, output))


def _echo_to_reader(line: str) -> None:
    """Print a line; end the command if nobody reads it, as after `| head`."""
    typer.echo(line)
    if reader_left():
        raise typer.Exit


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

    Its outputs are logits, rectangle and calibrated probabilities. The written file is compared with the model.
    """
    main_process_only()
    from rsam_app.model.export import batch_of, export_model, format_of
    from rsam_app.run.folder import RunFolder

    folder = RunFolder(run)
    folder.load_pipeline()  # raises if this is not a run
    reporter().say("exporting the model and comparing the file with it ...")
    written = export_model(folder.model, out, format_of(out, format), batch_of(batch))
    show(written.as_dict() if as_json else written.text(), as_json)


@app.command(rich_help_panel=MODEL)
def push(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="ORGANISATION/NAME", help="The model's name on the hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="Create it so that only you see it; no effect if it exists.")
    ] = False,
    no_picture: Annotated[
        bool, typer.Option("--no-picture", help="Upload no example image of the dataset with the model card.")
    ] = False,
) -> None:
    """Publish the model with a model card on the hub.

    Uploads weights, configuration, model card and an example image.
    """
    main_process_only()
    from rsam_app.workflow.push import push as push_model

    job = job_of_run(run, None)
    with job.run.writing():
        typer.echo(push_model(job, name, private, not no_picture))
