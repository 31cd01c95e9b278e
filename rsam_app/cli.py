"""The `rsam` command: parses, calls, prints."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from rsam_app.errors import UserError
from rsam_app.launching import (
    arguments_without_processes,
    end_launch,
    is_launched,
    join_launch,
    leave_launch,
    relaunch,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fine-grained image classification that shows where it looked, and learns from what a person corrects.",
)

PipelineArgument = Annotated[str, typer.Argument(help="A pipeline's file, or its name in pipelines/.")]
RunArgument = Annotated[Path, typer.Argument(help="A run folder, as `rsam train` makes it.")]
RunOption = Annotated[Path | None, typer.Option("--run", help="Run folder; runs/<pipeline name> where not given.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="key.sub=value, any config key; repeatable.")]
ProcessesOption = Annotated[int, typer.Option(min=1, help="Processes to run on, through Accelerate's launcher.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
PortOption = Annotated[int | None, typer.Option(help="Port of the App; 5151 or a free one where not given.")]
RemoteOption = Annotated[bool, typer.Option(help="Open no browser here: the App is looked at from another machine.")]
AddressOption = Annotated[
    str, typer.Option(help="Address the App listens on; anything but loopback is open to others.")
]
NoAppOption = Annotated[bool, typer.Option("--no-app", help="Print the data set's name and exit.")]


def main() -> None:
    """Run a command. Exit codes: 0 done; 2 the user must change something; 130 stopped by Ctrl-C or SIGTERM; 1 a bug,
    or a process of the launch was killed."""
    try:
        _run_command()
    except UserError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except Exception as error:
        if type(error).__name__ == "Interrupted":
            _fail(
                "stopped, with a checkpoint; continue with `rsam train PIPELINE --resume` or `rsam run PIPELINE`", 130
            )
        if "No space left on device" in str(error):  # each library wraps it in an exception of its own
            _fail(
                f"the disk is full ({error}).\nMake room and give the command again: what was whole before still is.", 2
            )
        end_launch(traceback.format_exc(), 1, patience=3)
        raise


def _run_command() -> None:
    try:
        app(standalone_mode=True)
    except SystemExit as end:
        if not end.code:
            leave_launch()
        # typer makes an exit code of a Ctrl-C, and would end this process without telling the others of its launch
        if end.__context__ is not None and isinstance(end.__context__.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


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
    if _relaunched(processes):
        return
    from rsam_app import rounds, stages

    job = _job(pipeline, set_, run)
    if round_:
        job = rounds.next_round(job)
    with job.run.writing_on_main():
        if round_:
            rounds.begin_round(job)
        stages.run_all(job)


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
    if _relaunched(processes):
        return
    from rsam_app import stages

    job = _job(pipeline, set_, run)
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
    if _relaunched(processes):
        return
    from rsam_app import stages

    job = _job_of(run, set_)
    with job.run.writing_on_main():
        metrics = stages.evaluate(job, split or job.pipeline.evaluate.split, robustness)
    if metrics:
        _print(metrics if as_json else _headline(metrics), as_json)


@app.command()
def predict(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    processes: ProcessesOption = 1,
    set_: SetOption = None,
) -> None:
    """Write what the model says about every image, and where it looked, into predictions/SPLIT.parquet."""
    if _relaunched(processes):
        return
    from rsam_app.predict import predict as predict_splits
    from rsam_app.predict import present_splits

    job = _job_of(run, set_)
    present = present_splits(job)
    if split not in (*present, "all"):
        raise UserError(f"--split {split}: the data set has {', '.join(present)}; or take `all`.")
    with job.run.writing_on_main():
        predict_splits(job, present if split == "all" else [split])


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
    _main_process_only()
    from rsam_app import stages
    from rsam_app.review import open_app

    job = _job_of(run, set_)
    with job.run.writing():
        name = stages.review(job)
        job.run.save_pipeline(job.pipeline)  # `apply` must know the key that the fields now carry
    open_app(name, port, remote, address, no_app=no_app, report=typer.echo)


@app.command()
def select(
    run: RunArgument,
    strategy: Annotated[str | None, typer.Option(help="See README; the pipeline's where not given.")] = None,
    budget: Annotated[int | None, typer.Option(help="How many images; the pipeline's where not given.")] = None,
    split: Annotated[str | None, typer.Option(help="train, val, test or all; the pipeline's where not given.")] = None,
    tag: Annotated[str | None, typer.Option(help="Tag for them in FiftyOne; the pipeline's where not given.")] = None,
    no_tag: Annotated[bool, typer.Option("--no-tag", help="Write the list only; leave FiftyOne alone.")] = False,
    replay: Annotated[
        Path | None, typer.Option(help="Manifest of an earlier selection (RUN/selection/*.json) to choose again.")
    ] = None,
    as_json: JsonOption = False,
    set_: SetOption = None,
) -> None:
    """Choose the images to label or relabel next; writes selection/ and tags them in FiftyOne."""
    _main_process_only()
    from rsam_app import stages
    from rsam_app.config import SelectConfig
    from rsam_app.validation import validate

    job = _job_of(run, set_)
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
    if as_json:
        _print({"strategy": chosen.strategy, "ids": list(chosen.ids), "scores": list(chosen.scores)}, True)
    else:
        for note in chosen.notes:
            typer.echo(note)
        typer.echo(f"{len(chosen.ids)} images by {chosen.strategy}: {chosen.csv}")


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
    _main_process_only()
    from rsam_app import simulate as simulated

    job = _job(pipeline, set_, run)
    with job.run.writing():
        if noise is not None:
            found = simulated.plant_label_errors(job, noise, seeds)
        else:
            asked = [name.strip() for name in strategies.split(",") if name.strip()]
            names = tuple(dict.fromkeys([*asked, "random"]))
            found = simulated.simulate_rounds(
                job, names, rounds, budget if start is None else start, budget, seeds, pool_share
            )
    _print(found.summary if as_json else found.text, as_json)


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
    _main_process_only()
    from rsam_app import decide

    job = _job_of(run, set_)
    report = decide.undo_decisions(job, who) if undo else decide.apply_decisions(job, who)
    _print(report.as_dict() if as_json else report.text(), as_json)


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
    _main_process_only()
    from rsam_app import curate

    job = _job_of(run, set_)
    report = curate.export_tagged(job, tag, format, out, mode, drop_duplicates=drop_duplicates, test_share=test_share)
    _print(report.as_dict() if as_json else report.text(), as_json)


@app.command("export-model")
def export_model(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(help="File to make, .onnx or .pt2; must not exist.")],
    format: Annotated[str | None, typer.Option(help="onnx or torch-export; by the file's suffix if not given.")] = None,
    batch: Annotated[str, typer.Option(help="Images at a time: a number, or dynamic for any.")] = "dynamic",
    as_json: JsonOption = False,
) -> None:
    """Write the model for other runtimes, logits and rectangle as outputs, and check the file against it."""
    _main_process_only()
    from rsam_app.export_model import batch_of, export_model, format_of
    from rsam_app.run_folder import RunFolder

    folder = RunFolder(run)
    folder.load_pipeline()  # says so where this is no run
    _reporter().say("tracing the model, writing the file and comparing both ...")
    written = export_model(folder.model, out, format_of(out, format), batch_of(batch))
    _print(written.as_dict() if as_json else written.text(), as_json)


@app.command()
def download(
    card: Annotated[str, typer.Argument(help="A card's file, or its name in datasets/.")],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the archives after they were unpacked.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch a card's data set from its official addresses, check and unpack it; goes on where it stopped."""
    _main_process_only()
    from rsam_app.config import load_card
    from rsam_app.download import download_card

    done = download_card(load_card(card), _reporter(), keep)
    _print(done.as_dict() if as_json else done.text(), as_json)


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
    _main_process_only()
    from rsam_app.review.annotate import READERS, bring_back, send

    form = to or from_
    if (to is None) == (from_ is None) or form not in READERS:
        raise UserError(f"rsam annotate: give --to or --from with one of: {', '.join(READERS)}.")
    job = _job_of(run, set_)
    key = job.pipeline.review.key or job.run.key
    done = send(job.card.name, key, form, file, tag) if to else bring_back(job.card.name, key, form, file)
    _print(done.as_dict() if as_json else done.text(), as_json)


@app.command("import-fiftyone")
def import_fiftyone(
    name: Annotated[str, typer.Argument(help="A data set in FiftyOne.")],
    out: Annotated[Path, typer.Argument(help="Folder to make for manifest.csv and the card.")],
    label: Annotated[str | None, typer.Option(help="Field with the labels; found where not given.")] = None,
    boxes: Annotated[str | None, typer.Option(help="Detections field with the objects' boxes.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Text field with the split; tags such as train if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a card of a FiftyOne data set: a manifest that any machine can train from; images stay in place."""
    _main_process_only()
    from rsam_app.review import import_dataset

    done = import_dataset(name, out, label, boxes, split)
    _print(done.as_dict() if as_json else done.text(), as_json)


@app.command()
def demo(
    run: RunOption = None,
    no_app: NoAppOption = False,
    port: PortOption = None,
    remote: RemoteOption = False,
    address: AddressOption = "127.0.0.1",
) -> None:
    """The whole loop on a generated data set, no download, then the App."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("rsam demo runs on one process: give it without a launcher.")
    from rsam_app.demo.run import run_demo
    from rsam_app.review import open_app

    name = run_demo(run or Path("runs/demo"), _reporter(), typer.echo)
    open_app(name, port, remote, address, no_app=no_app, report=typer.echo)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check this machine, and say for everything wrong how to mend it."""
    _main_process_only()
    from rsam_app.doctor import examine

    checks = examine()
    if as_json:
        _print([vars(c) for c in checks], True)
    else:
        for check in checks:
            typer.echo(f"{'ok   ' if check.ok else 'WRONG'} {check.name}: {check.detail}")
            if check.remedy:
                typer.echo(f"      → {check.remedy}")
    if not all(c.ok for c in checks):
        raise typer.Exit(2)


def _relaunched(processes: int) -> bool:
    """Whether the command was run on several processes and is done; raises `typer.Exit` where that failed. In one of
    those processes, connect it with the others."""
    if processes == 1 or is_launched():
        join_launch()
        return False
    code = relaunch(processes, arguments_without_processes())
    if code:
        raise typer.Exit(code)
    return True


def _main_process_only() -> None:
    """End the other processes of a launch in peace: FiftyOne is talked to by one."""
    from rsam_app.progress import is_main_process

    if not is_main_process():
        raise typer.Exit(0)


def _reporter() -> Any:
    from rsam_app.progress import Reporter

    return Reporter()


def _job(pipeline: str, overrides: list[str] | None, run: Path | None) -> Any:
    from rsam_app.job import Job

    return Job.of_pipeline(pipeline, overrides or [], run, _reporter())


def _job_of(run: Path, overrides: list[str] | None) -> Any:
    from rsam_app.job import Job

    return Job.of_run(run, overrides or [], _reporter())


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


def _print(result: Any, as_json: bool) -> None:
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False, default=str) if as_json else result)


def _fail(message: str, code: int) -> None:
    end_launch(f"rsam: {message}", code, patience=1)
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"rsam: {message}", file=sys.stderr)
    sys.stderr.flush()
    sys.exit(code)
