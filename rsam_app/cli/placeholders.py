"""The user's own pipeline and run in the commands that messages recommend, instead of `PIPELINE` and `RUN`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsam_app.system.errors import UserError

_COMMAND = re.compile(r"`rsam [^`\n]*`")


def fill_placeholders(message: str, arguments: Mapping[str, Any]) -> str:
    """Replace `PIPELINE` and `RUN` in each command of a message by what the running command was given.

    `arguments` are the running command's. A word stays if it is not known, such as the pipeline of a run whose file is
    elsewhere.
    """
    if not _COMMAND.search(message):
        return message
    known = _known(arguments)
    return _COMMAND.sub(
        lambda command: re.sub(r"\b(PIPELINE|RUN)\b", lambda w: known.get(w[0], w[0]), command[0]), message
    )


def _known(arguments: Mapping[str, Any]) -> dict[str, str]:
    pipeline, run = arguments.get("pipeline"), arguments.get("run")
    if pipeline is not None:
        name = _name_of(str(pipeline))
        words = {"PIPELINE": shlex.join([str(pipeline), *(["--run", str(run)] if run else [])])}
        return words | ({"RUN": shlex.quote(str(run or Path("runs") / name))} if run or name else {})
    if run is None:
        return {}
    words = {"RUN": shlex.quote(str(run))}
    return words | ({"PIPELINE": named} if (named := _pipeline_of(Path(run))) else {})


def _name_of(pipeline: str) -> str:
    from rsam_app.config import load_pipeline

    try:
        return load_pipeline(pipeline).name
    except UserError:
        return ""


def _pipeline_of(run: Path) -> str:
    """The pipeline of a run as `rsam run` takes it, with `--run` if the run is not in its default folder."""
    from rsam_app.config import find_pipeline, read_pipeline

    try:
        name = read_pipeline(run / "config.yaml").name
        find_pipeline(name)
    except UserError:
        return ""
    first = run.with_name(re.sub(r"-round\d+$", "", run.name))
    return shlex.join([name] if first.resolve() == Path("runs", name).resolve() else [name, "--run", str(first)])
