"""Commands that need neither data nor a run: the demo, and the checks of this machine."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rsam_app.cli.application import START, app
from rsam_app.cli.context import main_process_only, recorded, reporter, show
from rsam_app.cli.options import (
    AddressOption,
    AllowWritesOption,
    JsonOption,
    NoAppOption,
    PortOption,
    RemoteOption,
    RunOption,
)
from rsam_app.system.errors import UserError


@app.command(rich_help_panel=START)
def demo(
    run: RunOption = None,
    no_app: NoAppOption = False,
    port: PortOption = None,
    remote: RemoteOption = False,
    address: AddressOption = "127.0.0.1",
    allow_writes: AllowWritesOption = None,
    simulate_reviewer: Annotated[
        bool, typer.Option("--simulate-reviewer", help="Let a simulated reviewer correct the queue; train again.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole loop on generated data.

    Downloads nothing. Opens the App at the end. Run again after your corrections, it trains the next round with them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("rsam demo runs on one process: start it without a launcher.")
    from rsam_app.review.app.session import check_listening, open_app
    from rsam_app.workflow.demo.run_demo import run_demo

    check_listening(address, port, no_app)
    say = partial(typer.echo, err=as_json)
    done = run_demo(run or Path("runs/demo"), reporter(), say, simulate_reviewer)
    if as_json:
        show({**recorded(done.job), "found": done.found, "changed": done.changed}, as_json)
    open_app(done.job.card.name, port, remote, address, no_app=no_app, writes=allow_writes, report=say)


@app.command(rich_help_panel=START)
def doctor(
    as_json: JsonOption = False,
    report: Annotated[
        bool, typer.Option("--report", help="Print what a maintainer needs, without paths, names and passwords.")
    ] = False,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="With --report: add this run's settings and log.")
    ] = None,
) -> None:
    """Check this machine and report how to fix it."""
    main_process_only()
    from rsam_app.workflow.doctor import run_checks

    if run and not report:
        raise UserError("rsam doctor --run: belongs to --report. Add it, or leave --run out.")
    checks = run_checks()
    if report:
        from rsam_app.workflow.doctor_report import report as text_of

        typer.echo(text_of(checks, run), nl=False)
    elif as_json:
        show([vars(c) for c in checks], True)
    else:
        for check in checks:
            typer.echo(f"{'ok   ' if check.ok else 'WRONG'} {check.name}: {check.detail}")
            if check.remedy:
                typer.echo(f"      → {check.remedy}")
    if not all(c.ok for c in checks):
        raise typer.Exit(2)
