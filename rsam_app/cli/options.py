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
NoAppOption = Annotated[bool, typer.Option("--no-app", help="Print the dataset's name and exit.")]
