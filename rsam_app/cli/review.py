"""Commands of a person who looks at images: review, choose, decide, hand over."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from rsam_app.cli.context import job_in, job_of, main_process_only, show
from rsam_app.cli.options import (
    AddressOption,
    JsonOption,
    NoAppOption,
    PipelineArgument,
    PortOption,
    RemoteOption,
    RunArgument,
    RunOption,
    SetOption,
    app,
)
from rsam_app.system.errors import UserError


@app.command()
def review(
    run: RunArgument,
    no_app: NoAppOption = False,
    port: PortOption = None,
    remote: RemoteOption = False,
    address: AddressOption = "127.0.0.1",
    set_: SetOption = None,
) -> None:
    """Write a run into FiftyOne, then open the App; in a terminal it stays until Ctrl-C."""
    main_process_only()
    from rsam_app.review.app.session import open_app
    from rsam_app.workflow import stages

    job = job_of(run, set_)
    with job.run.writing():
        name = stages.review(job)
        job.run.save_pipeline(job.pipeline)  # `apply` must know the key that the fields now carry
    open_app(name, port, remote, address, no_app=no_app, report=typer.echo)


@app.command()
def select(
    run: RunArgument,
    strategy: Annotated[str | None, typer.Option(help="See README; the pipeline's where not given.")] = None,
    budget: Annotated[int | None, typer.Option(help="How many images; the pipeline's where not given.")] = None,
    split: Annotated[
        str | None, typer.Option(help="train, val, test, unlabelled or all; the pipeline's where not given.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Tag for them in FiftyOne; the pipeline's where not given.")] = None,
    no_tag: Annotated[bool, typer.Option("--no-tag", help="Write the list only; leave FiftyOne alone.")] = False,
    replay: Annotated[
        Path | None, typer.Option(help="Manifest of an earlier selection (RUN/selection/*.json) to choose again.")
    ] = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Choose the images to label or relabel next; writes selection/ and tags them in FiftyOne."""
    main_process_only()
    from rsam_app.config import SelectConfig
    from rsam_app.config.validation import validate
    from rsam_app.workflow import stages

    job = job_of(run, set_)
    given = {"strategy": strategy, "budget": budget, "split": split, "tag": tag}
    settings = job.pipeline.select.model_dump() | {k: v for k, v in given.items() if v is not None}
    if replay is not None and (strategy or budget or split):
        raise UserError("rsam select --replay: the manifest says strategy, budget and split. Leave them out.")
    wanted = validate(SelectConfig, settings, Path("rsam select"))
    with job.run.writing():
        if replay is not None:
            chosen = stages.select_again(job, replay, None if no_tag else wanted.tag)
        else:
            chosen = stages.select(job, wanted, tag=not no_tag)
    _show_selection(chosen, f"{len(chosen.ids)} images by {chosen.strategy}: {chosen.csv}", as_json)


@app.command(name="select-first")
def select_first(
    pipeline: PipelineArgument,
    strategy: Annotated[str, typer.Option(help="One that asks no model, see docs/selection.md.")] = "herding",
    budget: Annotated[int, typer.Option(help="How many images.")] = 50,
    run: RunOption = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Choose which photographs to label first, before anything is trained or labelled; writes selection/."""
    main_process_only()
    from rsam_app.workflow.select_first import choose_first

    job = job_in(pipeline, set_, run)
    with job.run.writing():
        chosen, what_next = choose_first(job, strategy, budget)
    _show_selection(chosen, what_next, as_json)


def _show_selection(selection: Any, said: str, as_json: bool) -> None:
    """What was chosen for a script, or its notes and what is `said` of it for a person."""
    scores = [score if math.isfinite(score) else None for score in selection.scores]
    found = {"strategy": selection.strategy, "ids": list(selection.ids), "scores": scores}
    show(found if as_json else "\n".join([*selection.notes, said]), as_json)


@app.command()
def apply(
    run: RunArgument,
    who: Annotated[
        str | None, typer.Option(help="Name to keep with the decisions; your login where not given.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what the last apply added, in FiftyOne too.")] = False,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Read a person's decisions from FiftyOne into the corrections table, which the next `rsam train` uses."""
    main_process_only()
    from rsam_app.review.decisions.apply import apply_decisions, undo_decisions

    job = job_of(run, set_)
    report = undo_decisions(job, who) if undo else apply_decisions(job, who)
    show(report.as_dict() if as_json else report.text(), as_json)


@app.command()
def annotate(
    run: RunArgument,
    file: Annotated[Path, typer.Argument(help="Tasks to write, or an export to read.")],
    to: Annotated[str | None, typer.Option(help="Write tasks for label-studio or cvat.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="Read an export of label-studio or cvat.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only samples that carry this tag.")] = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Correct rectangles in Label Studio or CVAT: they go out turned, and come back as attention_target."""
    main_process_only()
    from rsam_app.review.annotation_tools.exchange import READERS, bring_back, send

    form = to or from_
    if (to is None) == (from_ is None) or form not in READERS:
        raise UserError(f"rsam annotate: give --to or --from with one of: {', '.join(READERS)}.")
    job = job_of(run, set_)
    key = job.pipeline.review.key or job.run.key
    done = send(job.card.name, key, form, file, tag) if to else bring_back(job.card.name, key, form, file)
    show(done.as_dict() if as_json else done.text(), as_json)


@app.command()
def export(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(help="Folder to make; must not exist or be empty.")],
    tag: Annotated[str, typer.Option(help="Tag of the images in FiftyOne.")],
    format: Annotated[
        str, typer.Option(help="folder, manifest, coco, yolo-obb, fiftyone, imagefolder, parquet or crops.")
    ] = "folder",
    mode: Annotated[str, typer.Option(help="copy, hardlink or symlink.")] = "copy",
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Keep one of each photograph that is there twice.")
    ] = False,
    test_share: Annotated[
        float | None, typer.Option(help="Make train and test anew, with near-duplicates on one side.")
    ] = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Export the images that carry a tag, with their corrected labels and rectangles."""
    main_process_only()
    from rsam_app.review.export_tagged import export_tagged

    job = job_of(run, set_)
    report = export_tagged(job, tag, format, out, mode, drop_duplicates=drop_duplicates, test_share=test_share)
    show(report.as_dict() if as_json else report.text(), as_json)


@app.command()
def simulate(
    pipeline: PipelineArgument,
    strategies: Annotated[
        str, typer.Option(help="Comma-separated; `random` is always among them.")
    ] = "auto,typiclust,diverse_margin,margin,badge,k_center,entropy,random",
    rounds: Annotated[int, typer.Option(help="Rounds after the first labels.")] = 8,
    budget: Annotated[int, typer.Option(help="Labels in each round.")] = 50,
    start: Annotated[int | None, typer.Option(help="Labels before the first round; as many as a round's.")] = None,
    seeds: Annotated[int, typer.Option(help="How often to repeat it all.")] = 10,
    pool_share: Annotated[float, typer.Option(help="Share of the images that each seed may choose from.")] = 0.9,
    noise: Annotated[
        float | None, typer.Option(help="Instead: plant this share of wrong labels and measure how they are found.")
    ] = None,
    run: RunOption = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Label-efficiency curves with an oracle, on features of the frozen backbone; writes simulation/."""
    main_process_only()
    from rsam_app.workflow.simulate import plant_label_errors, simulate_rounds

    job = job_in(pipeline, set_, run)
    with job.run.writing():
        if noise is not None:
            found = plant_label_errors(job, noise, seeds)
        else:
            asked = [name.strip() for name in strategies.split(",") if name.strip()]
            names = tuple(dict.fromkeys([*asked, "random"]))
            found = simulate_rounds(job, names, rounds, budget if start is None else start, budget, seeds, pool_share)
    show(found.summary if as_json else found.text, as_json)
