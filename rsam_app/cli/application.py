"""The application that commands register with: groups in its help, and the options that every command has.

A command joins a group in its decorator: `@app.command(rich_help_panel=MODEL)`.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rsam_app.system.extras import require_for_command
from rsam_app.system.version import __version__

START, DATA, TRAIN, REVIEW, MODEL = GROUPS = ("Start", "Data", "Train", "Review", "Model")
"""The groups of commands, in the order of `rsam --help`."""

VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print log messages of libraries too, and the traceback of an error.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
CONTEXT = {"help_option_names": ["-h", "--help"]}


class Output:
    """The running command's arguments, and how much it prints on standard error."""

    verbose = False
    quiet = False
    arguments: Mapping[str, Any] = {}

    @classmethod
    def choose(cls, verbose: bool, quiet: bool, arguments: Mapping[str, Any]) -> None:
        """Apply `-v` or `-q`. Raises `typer.BadParameter` if both are given."""
        if verbose and quiet:
            raise typer.BadParameter("--verbose and --quiet exclude each other.")
        cls.verbose, cls.quiet, cls.arguments = verbose, quiet, arguments
        if verbose:
            logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")  # on standard error


class Groups(TyperGroup):
    """A list of commands under the name of each group."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the groups, their columns aligned."""
        commands = {name: self.commands[name] for name in self.list_commands(ctx)}
        width = max(map(len, commands))
        of_group: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for name, command in commands.items():
            group = getattr(command, "rich_help_panel", None) or "Commands"
            of_group.setdefault(group, []).append((name.ljust(width), command.get_short_help_str(60)))
        for group, rows in of_group.items():
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows)


class Application(typer.Typer):
    """A Typer application whose commands all have `-v`, `-q` and `-h`."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """As `typer.Typer.command`."""
        register = super().command(name, **{"context_settings": CONTEXT, **settings})

        def decorate(function: Any) -> Any:
            register(_with_output_options(function))
            return function

        return decorate


def _with_output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same command with the options `-v` and `-q`."""

    @functools.wraps(function)
    def command(*, verbose: bool, quiet: bool, **arguments: Any) -> Any:
        Output.choose(verbose, quiet, arguments)
        require_for_command(function.__name__.replace("_", "-"))
        return function(**arguments)

    options = {"verbose": VerboseOption, "quiet": QuietOption}
    added = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=a) for n, a in options.items()
    ]
    signature = inspect.signature(function, eval_str=True)
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *added]
    )
    command.__annotations__ = function.__annotations__ | options
    return command


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rsam {__version__}")
        raise typer.Exit


app = Application(
    cls=Groups,
    context_settings=CONTEXT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="`rsam COMMAND -h` shows a command's options. `rsam --install-completion` completes commands with Tab.",
)


@app.callback()
def rsam(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Fine-grained image classification that shows where it looked and learns from your corrections."""
