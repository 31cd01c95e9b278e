"""The application that commands register with, and the options that several of them share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fine-grained image classification that shows where it looked and learns from your corrections.",
)

PipelineArgument = Annotated[str, typer.Argument(help="Pipeline file, or a name in pipelines/.")]
RunArgument = Annotated[Path, typer.Argument(help="Run folder.")]
RunOption = Annotated[Path | None, typer.Option("--run", help="Run folder; default: runs/<pipeline name>.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Set a config key: key.sub=value; repeatable.")]
ProcessesOption = Annotated[int, typer.Option(min=1, help="Number of processes, started by Accelerate.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
PortOption = Annotated[int | None, typer.Option(help="Port of the App; default: 5151, or a free one.")]
RemoteOption = Annotated[bool, typer.Option(help="Do not open a browser: the App is used from another machine.")]
AddressOption = Annotated[str, typer.Option(help="Address of the App; any but loopback lets others connect.")]
NoAppOption = Annotated[bool, typer.Option("--no-app", help="Print the dataset's name and exit.")]
