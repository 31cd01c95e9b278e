"""Pages of the commands: one for each group of `rsam --help`, with every argument and option."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from docs_site.tables import plain, table
from rsam_app.cli import app
from rsam_app.cli.application import GROUPS

OF_EVERY_COMMAND = ("--verbose", "--quiet", "--help")
"""Options described once, above the commands."""


def command_pages() -> dict[str, str]:
    """The pages, by their place in the site."""
    found = list(commands())
    return {f"reference/commands/{group.lower()}.md": _page(group, found) for group in GROUPS}


def commands() -> Iterator[tuple[str, str, Any]]:
    """Every command's group, name and context, those of a command's own commands included."""
    root: Any = typer.main.get_command(app)
    context = root.context_class(root, info_name="rsam")
    for name, command in root.commands.items():
        yield from _with_inner(command.rich_help_panel, name, command, context)


def _with_inner(group: str, name: str, command: Any, parent: Any) -> Iterator[tuple[str, str, Any]]:
    context = command.context_class(command, info_name=name.rpartition(" ")[2], parent=parent)
    inner = getattr(command, "commands", {})
    if not inner:
        yield group, name, context
    for inner_name, inner_command in inner.items():
        yield from _with_inner(group, f"{name} {inner_name}", inner_command, context)


def _page(group: str, found: list[tuple[str, str, Any]]) -> str:
    sections = [_section(name, context) for of, name, context in found if of == group]
    common = (
        "Every command also has `-v` (`--verbose`): print log messages of libraries too, and the traceback of an error;"
        " `-q` (`--quiet`): print results and errors only; and `-h` (`--help`)."
    )
    return "\n".join([f"# Commands: {group.lower()}\n", common, "", *sections])


def _section(name: str, context: Any) -> str:
    command = context.command
    usage = f"rsam {name} {' '.join(command.collect_usage_pieces(context))}"
    summary, _, about = command.help.partition("\n\n")
    rows = [
        (f"`{record[0]}`", plain(record[1]))
        for parameter in command.get_params(context)
        if not {*parameter.opts} & {*OF_EVERY_COMMAND} and (record := parameter.get_help_record(context))
    ]
    parts = [f"## rsam {name}", plain(summary), f"```\n{usage}\n```", *map(plain, about.split("\n\n"))]
    if rows:
        parts.append(table(("argument or option", "meaning"), rows))
    return "\n\n".join(part for part in parts if part) + "\n"
