"""Commands for a review: label, look, choose what to ask, apply decisions, hand data on."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rsam_app.cli.application import REVIEW, app
from rsam_app.cli.completion import complete_card, complete_strategy
from rsam_app.cli.context import job_of_pipeline, job_of_run, main_process_only, reporter, show
from rsam_app.cli.options import (
    AddressOption,
    AllowWritesOption,
    AnySplit,
    JsonOption,
    NoAppOption,
    PipelineArgument,
    PortOption,
    RemoteOption,
    RunArgument,
    RunOption,
    SetOption,
    StrategyOption,
)
from rsam_app.system.errors import UserError

Tool = Literal["label-studio", "cvat"]
ExportFormat = Literal["folder", "manifest", "coco", "yolo-obb", "fiftyone", "imagefolder", "parquet", "crops"]
ExportMode = Literal["copy", "hardlink", "symlink"]


@app.command(rich_help_panel=REVIEW)
def label(
    target: Annotated[
        str,
        typer.Argument(metavar="FOLDER|CARD", help="Folder of photographs, or a card.", autocompletion=complete_card),
    ],
    classes: Annotated[str | None, typer.Option(metavar="A,B,C", help="Classes to offer from the start.")] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of card and pipeline; default: the folder's.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(metavar="NAME", help="timm backbone of a new pipeline.")] = None,
    ignore_folders: Annotated[
        bool, typer.Option("--ignore-folders", help="Folders are not classes: label all images in them.")
    ] = False,
    budget: Annotated[int, typer.Option(metavar="N", help="Number of images in a batch.")] = 50,
    run: RunOption = None,
    no_app: NoAppOption = False,
    port: PortOption = None,
    remote: RemoteOption = False,
    address: AddressOption = "127.0.0.1",
    allow_writes: AllowWritesOption = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Label photographs in the App, without a model.

    For a folder of unlabelled photographs, also in folders by date, writes card and pipeline. Opens the App at once,
    computes features meanwhile, chooses images in batches and suggests labels. `rsam run` then trains with them.
    """
    main_process_only()
    from rsam_app.review.app.session import check_listening, open_app
    from rsam_app.review.labelling.arrange import BATCH_VIEW
    from rsam_app.review.labelling.begin import parse_classes
    from rsam_app.workflow.label import begin, pipeline_to_label

    offered = parse_classes(classes)
    check_listening(address, port, no_app)
    reference = pipeline_to_label(target, name, backbone, reporter(), ignore_folders)
    labelling = begin(job_of_pipeline(reference, set_, run), reference, set_ or [], offered, budget)
    report = reporter().say if as_json else typer.echo
    if no_app or not sys.stdout.isatty():
        labelling.finish()
    else:
        labelling.take_first_batch()
    if as_json:
        show({"dataset": labelling.review_set.name, "run": str(labelling.job.run.path)}, as_json)
    try:
        open_app(
            labelling.review_set.name,
            port,
            remote,
            address,
            BATCH_VIEW,
            no_app=no_app,
            writes=allow_writes,
            report=report,
            meanwhile=labelling.step,
        )
    finally:
        labelling.close()
    report(labelling.summary())


@app.command(rich_help_panel=REVIEW)
def review(
    run: RunArgument,
    into: Annotated[
        str | None, typer.Option(metavar="NAME", help="Your FiftyOne dataset to review in; see docs/own-dataset.md.")
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take all of RSAM's out of your dataset again; opens no App.")
    ] = False,
    write_back: Annotated[
        list[str] | None,
        typer.Option("--write-back", metavar="KIND=FIELD", help="Write labels, targets or tags into your own field."),
    ] = None,
    no_app: NoAppOption = False,
    port: PortOption = None,
    remote: RemoteOption = False,
    address: AddressOption = "127.0.0.1",
    allow_writes: AllowWritesOption = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Write a run into FiftyOne and open the App.

    In a terminal, the App stays open until Ctrl-C. With `--into`, also later, writes beside your own fields in your
    dataset, and changes nothing of yours.
    """
    main_process_only()
    from rsam_app.review.app.session import check_listening, open_app
    from rsam_app.workflow import stages

    job = job_of_run(run, [*(set_ or []), *([f"review.into={json.dumps(into)}"] if into else [])])
    if remove or write_back:
        with job.run.writing():
            done = stages.remove_review(job) if remove else stages.write_back(job, write_back or [])
        show(done.as_dict() if as_json else done.text(), as_json)
        return
    check_listening(address, port, no_app)
    with job.run.writing():
        name = stages.review(job)
        job.run.save_pipeline(job.pipeline)  # `apply` must know the key of the fields
    if as_json:
        show({"dataset": name, "run": str(run), "key": job.review_key}, as_json)
    open_app(
        name,
        port,
        remote,
        address,
        no_app=no_app,
        writes=allow_writes,
        report=reporter().say if as_json else typer.echo,
    )


@app.command(rich_help_panel=REVIEW)
def select(
    run: RunArgument,
    strategy: Annotated[str | None, StrategyOption] = None,
    budget: Annotated[int | None, typer.Option(metavar="N", help="Number of images; default: the pipeline's.")] = None,
    split: Annotated[AnySplit | None, typer.Option(help="Images to choose from; default: the pipeline's.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Tag for the images; default: the pipeline's.")] = None,
    no_tag: Annotated[bool, typer.Option("--no-tag", help="Only write the list; do not tag in FiftyOne.")] = False,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Repeat the selection of a RUN/selection/*.json.")
    ] = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Choose the images to label or relabel next.

    Writes them into selection/ and tags them in FiftyOne.
    """
    main_process_only()
    from rsam_app.config import SelectConfig
    from rsam_app.config.validation import validate
    from rsam_app.workflow import stages

    job = job_of_run(run, set_)
    options = {"strategy": strategy, "budget": budget, "split": split, "tag": tag}
    content = job.pipeline.select.model_dump() | {k: v for k, v in options.items() if v is not None}
    if replay is not None and (strategy or budget or split):
        raise UserError("rsam select --replay: the manifest sets strategy, budget and split. Leave them out.")
    settings = validate(SelectConfig, content, Path("rsam select"))
    with job.run.writing():
        if replay is not None:
            chosen = stages.replay_selection(job, replay, None if no_tag else settings.tag)
        else:
            chosen = stages.select(job, settings, tag=not no_tag)
    _show_selection(chosen, f"{len(chosen.ids)} images by {chosen.strategy}: {chosen.csv}", as_json)


@app.command("select-first", rich_help_panel=REVIEW)
def select_first(
    pipeline: PipelineArgument,
    strategy: Annotated[
        str,
        typer.Option(
            metavar="STRATEGY",
            help="See docs/selection.md; must not need a model.",
            autocompletion=complete_strategy,
        ),
    ] = "herding",
    budget: Annotated[int, typer.Option(metavar="N", help="Number of images.")] = 50,
    run: RunOption = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Choose the images to label first, without a run.

    Writes them into selection/.
    """
    main_process_only()
    from rsam_app.workflow.select_first import choose_first

    job = job_of_pipeline(pipeline, set_, run)
    with job.run.writing():
        chosen, next_step = choose_first(job, strategy, budget)
    _show_selection(chosen, next_step, as_json)


def _show_selection(selection: Any, text: str, as_json: bool) -> None:
    """Print a selection as JSON, or its notes and a `text` about it."""
    scores = [score if math.isfinite(score) else None for score in selection.scores]
    result = {"strategy": selection.strategy, "ids": list(selection.ids), "scores": scores}
    show(result if as_json else "\n".join([*selection.notes, text]), as_json)


@app.command(rich_help_panel=REVIEW)
def apply(
    run: RunArgument,
    who: Annotated[
        str | None, typer.Option(metavar="NAME", help="Reviewer's name; default: RSAM_WHO, or your login.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Undo the last apply, in FiftyOne too.")] = False,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Save decisions from FiftyOne as corrections.

    The next training uses them.
    """
    main_process_only()
    from rsam_app.review.decisions.apply import apply_decisions, undo_decisions

    job = job_of_run(run, set_)
    report = undo_decisions(job, who) if undo else apply_decisions(job, who)
    show(report.as_dict() if as_json else report.text(), as_json)


@app.command(rich_help_panel=REVIEW)
def locate(
    run: RunArgument,
    no_app: Annotated[bool, typer.Option("--no-fiftyone", help="Write nothing into FiftyOne.")] = False,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Find objects again, taught by all answers.

    Says how many rectangles moved, shows them in FiftyOne, and keeps them for the next training.
    """
    main_process_only()
    from rsam_app.workflow import locate as locating

    job = job_of_run(run, set_)
    located = locating.locate(job)
    show(located.as_dict() if as_json else located.text(), as_json)
    if not no_app:
        job.reporter.say(locating.show_located(job, located))


@app.command(rich_help_panel=REVIEW)
def annotate(
    run: RunArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Task file to write, or export to read.")],
    to: Annotated[Tool | None, typer.Option(help="Write tasks for this tool.")] = None,
    from_: Annotated[Tool | None, typer.Option("--from", help="Read an export of this tool.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Only samples with this tag.")] = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Correct images in Label Studio or CVAT.

    Rotated rectangles and labels are written as tasks, and read back into attention_target and ground_truth.
    """
    main_process_only()
    from rsam_app.review.annotation_tools.exchange import READERS, bring_back, send

    tool = to or from_
    if (to is None) == (from_ is None) or tool not in READERS:
        raise UserError(f"rsam annotate: give --to or --from with one of: {', '.join(READERS)}.")
    job = job_of_run(run, set_)
    name, key = job.review_dataset, job.review_key
    result = send(name, key, tool, file, tag) if to else bring_back(name, key, tool, file)
    show(result.as_dict() if as_json else result.text(), as_json)


@app.command(rich_help_panel=REVIEW)
def export(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to create; must not exist, or be empty.")],
    tag: Annotated[str, typer.Option(metavar="TAG", help="Tag of the images in FiftyOne.")],
    format: Annotated[ExportFormat, typer.Option(help="Format of the subset: see docs/export.md.")] = "folder",
    mode: Annotated[ExportMode, typer.Option(help="Copy images, or link to them to save space.")] = "copy",
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Keep only one copy of each photograph.")
    ] = False,
    test_share: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Split into train and test again, near-duplicates on one side."),
    ] = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Export tagged images with their corrections."""
    main_process_only()
    from rsam_app.review.export_tagged import export_tagged

    job = job_of_run(run, set_)
    report = export_tagged(job, tag, format, out, mode, drop_duplicates=drop_duplicates, test_share=test_share)
    show(report.as_dict() if as_json else report.text(), as_json)
