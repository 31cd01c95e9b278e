"""Helpers of the commands: relaunch on several processes, open the job, print the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from rsam_app.cli.application import Output
from rsam_app.cli.placeholders import fill_placeholders
from rsam_app.system.distributed import arguments_without_processes, is_launched, join_launch
from rsam_app.system.distributed.launcher import relaunch


def relaunched(processes: int) -> bool:
    """Run this command on several processes if more than one is requested; returns whether that happened.

    Inside a launch, join it instead. Raises `typer.Exit` if the launch failed.
    """
    if processes == 1 or is_launched():
        join_launch()
        return False
    code = relaunch(processes, arguments_without_processes())
    if code:
        raise typer.Exit(code)
    return True


def main_process_only() -> None:
    """Exit all but the main process of a launch, without an error."""
    from rsam_app.system.progress import is_main_process

    if not is_main_process():
        raise typer.Exit(0)


def reporter() -> Any:
    """A reporter of progress on standard error."""
    from rsam_app.system.progress import Reporter

    return Reporter(Output.quiet)


def job_of_pipeline(pipeline: str, overrides: list[str] | None, run: Path | None) -> Any:
    """The job of a pipeline given by name or file, with `--set` and `--run`."""
    from rsam_app.run.job import Job

    return Job.of_pipeline(pipeline, overrides or [], run, reporter())


def job_of_run(run: Path, overrides: list[str] | None) -> Any:
    """The job of an existing run, with `--set`."""
    from rsam_app.run.job import Job

    return Job.of_run(run, overrides or [], reporter())


def show(result: Any, as_json: bool) -> None:
    """Print a command's result as text, or as JSON for scripts."""
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False, default=str))
    else:
        typer.echo(fill_placeholders(result, Output.arguments))


def recorded(job: Any) -> dict[str, Any]:
    """What a job's run has recorded, and its metrics once it is evaluated."""
    return {"run": str(job.run.path), **job.run.read_json(), "metrics": job.run.read_metrics()}
