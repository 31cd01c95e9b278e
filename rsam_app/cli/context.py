"""How a command starts, on which processes and on which run, and how it shows what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from rsam_app.system.distributed import arguments_without_processes, is_launched, join_launch
from rsam_app.system.distributed.launcher import relaunch


def ran_in_processes(processes: int) -> bool:
    """Whether the command was run on several processes and is done; raises `typer.Exit` where that failed. In one of
    those processes, connect it with the others."""
    if processes == 1 or is_launched():
        join_launch()
        return False
    code = relaunch(processes, arguments_without_processes())
    if code:
        raise typer.Exit(code)
    return True


def main_process_only() -> None:
    """End the other processes of a launch in peace: FiftyOne is talked to by one."""
    from rsam_app.system.progress import is_main_process

    if not is_main_process():
        raise typer.Exit(0)


def reporter() -> Any:
    """What tells a person how far the command is."""
    from rsam_app.system.progress import Reporter

    return Reporter()


def job_in(pipeline: str, overrides: list[str] | None, run: Path | None) -> Any:
    """The job of a pipeline, by name or file, with `--set` and `--run` as given."""
    from rsam_app.run.job import Job

    return Job.of_pipeline(pipeline, overrides or [], run, reporter())


def job_of(run: Path, overrides: list[str] | None) -> Any:
    """The job that made a run, with `--set` as given."""
    from rsam_app.run.job import Job

    return Job.of_run(run, overrides or [], reporter())


def show(result: Any, as_json: bool) -> None:
    """Print a command's result, text or, for scripts, JSON."""
    typer.echo(json.dumps(result, indent=2, ensure_ascii=False, default=str) if as_json else result)
