"""Runs `rsam_app.workflow.predict_process` as a child of the App's server, which must neither hold a model nor fork."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from rsam_app.system.errors import UserError
from rsam_app.system.progress import Step

STALE = "stale"
"""In place of splits: those whose predictions are missing or out of date."""


REASON = 20
"""Of what a failed process printed, so many lines are passed on."""


def rescored(run: Path, splits: Sequence[str] | None = None) -> Generator[Step, None, list[str]]:
    """Predict `splits` of the run, or those that are out of date; yields how far it is, returns the splits predicted.

    The process holds the run for writing. It ends with the generator, and with this process. Raises `UserError` with
    its reason where it fails.
    """
    command = [
        sys.executable,
        "-m",
        "rsam_app.workflow.predict_process",
        str(run),
        ",".join(splits) if splits else STALE,
    ]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            predicted, other = yield from _read(process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
    if process.returncode or predicted is None:
        reason = "\n".join(other[-REASON:]) or f"its process ended with status {process.returncode}"
        raise UserError(reason.removeprefix("rsam: "))
    return predicted


def _read(process: subprocess.Popen[str]) -> Generator[Step, None, tuple[list[str] | None, list[str]]]:
    """Until the process ends: its steps; returns the splits it says to have predicted, and all else that it printed."""
    assert process.stdout is not None
    predicted, other = None, []
    for line in process.stdout:
        message = _parse(line)
        if "step" in message:
            yield Step(**message["step"])
        elif "predicted" in message:
            predicted = message["predicted"]
        else:  # what a library says, or a traceback
            other.append(line.rstrip())
    process.wait()
    return predicted, other


def _parse(line: str) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
