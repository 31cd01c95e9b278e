"""The arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rsam_app.cli.application import app
from rsam_app.cli.completion import complete_pipeline, complete_run, complete_strategy

__all__ = ["app"]

Split = Literal["train", "val", "test"]
AnySplit = Literal["train", "val", "test", "unlabelled", "all"]

PipelineArgument = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="Name in pipelines/, or a file.", autocompletion=complete_pipeline)
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.", autocompletion=complete_run)]
RunOption = Annotated[
    Path | None, typer.Option("--run", metavar="RUN", help="Run folder; default: runs/<pipeline name>.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a config key, e.g. train.epochs=3; repeatable."),
]
ProcessesOption = Annotated[int, typer.Option(min=1, metavar="N", help="Number of processes, started by Accelerate.")]
StrategyOption = typer.Option(
    metavar="STRATEGY", help="See docs/selection.md; default: the pipeline's.", autocompletion=complete_strategy
)
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
PortOption = Annotated[int | None, typer.Option(metavar="N", help="Port of the App; default: 5151, or a free one.")]
RemoteOption = Annotated[bool, typer.Option(help="Do not open a browser: the App is used from another machine.")]
AddressOption = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Address of the App; any but loopback lets others connect.")
]
AllowWritesOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Let the App export below DIR; default: the current folder."),
]
NoAppOption = Annotated[bool, typer.Option("--no-app", help="Print the dataset's name and exit.")]
