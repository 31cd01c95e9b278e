"""Commands about configuration: the keys of cards and pipelines, and their values."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rsam_app.cli.application import CONTEXT, START, Application, app
from rsam_app.cli.context import main_process_only, show
from rsam_app.cli.options import JsonOption, PipelineArgument, SetOption

config_app = Application(
    context_settings=CONTEXT, no_args_is_help=True, help="Describe the keys of configuration files."
)
app.add_typer(config_app, name="config", rich_help_panel=START)


@config_app.command("show")
def show_pipeline(pipeline: PipelineArgument, as_json: JsonOption = False, set_: SetOption = None) -> None:
    """Show each key's value, default and meaning.

    Values are those that `rsam run PIPELINE` would use.
    """
    main_process_only()
    from rsam_app.config import load_pipeline
    from rsam_app.config.describe import settings

    found = settings(load_pipeline(pipeline, set_))
    show([vars(setting) for setting in found] if as_json else "\n".join(s.text() for s in found), as_json)


@config_app.command()
def schema(
    kind: Annotated[Literal["pipeline", "card"], typer.Argument(metavar="KIND", help="Kind of file.")] = "pipeline",
) -> None:
    """Print the JSON Schema of a kind of file.

    An editor with it completes and checks keys: see docs/environment.md.
    """
    main_process_only()
    from rsam_app.config.describe import json_schema

    show(json_schema(kind), as_json=True)
