"""Parent side of `rsam_app.workflow.predict_process`, and of `rsam locate`.

A predicting child prints one JSON message a line: `{"step": …}` while it works, `{"predicted": [splits]}` when it is
done.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from rsam_app.review.plugin.child_process import python_child, reason_of_failure
from rsam_app.system.errors import UserError
from rsam_app.system.json_files import parse_json
from rsam_app.system.progress import Step

STALE = "stale"
"""Stands for the splits whose predictions are missing or out of date."""


def predict_in_child(run: Path, splits: Sequence[str] | None = None) -> Generator[Step, None, list[str]]:
    """Predict `splits`, or those out of date, in a child process; yield its steps, return the splits predicted.

    The child holds the run for writing. It ends with the generator, and with this process. Raises `UserError` with the
    child's output if it fails.
    """
    wanted = ",".join(splits) if splits else STALE
    with python_child(["rsam_app.workflow.predict_process", str(run), wanted]) as process:
        predicted, output = yield from _follow(process)
    if process.returncode or predicted is None:
        raise UserError(reason_of_failure(process.returncode, output).removeprefix("rsam: "))
    return predicted


def locate_in_child(run: Path) -> str:
    """Locate the objects in the run's training images again, and write them into FiftyOne, in a child process; return
    the sentence about it. Raises `UserError` with the child's output if it fails."""
    command = [sys.executable, "-m", "rsam_app", "locate", str(run), "--json"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        reason = reason_of_failure(done.returncode, done.stderr.splitlines())
        raise UserError(reason.removeprefix("rsam: "))
    return str(parse_json(done.stdout)["text"])


def _follow(process: subprocess.Popen[str]) -> Generator[Step, None, tuple[list[str] | None, list[str]]]:
    """Yield the child's steps until it exits; return the splits it predicted, and its other output."""
    assert process.stdout is not None
    predicted, output = None, []
    for line in process.stdout:
        message = _parse(line)
        if "step" in message:
            yield Step(**message["step"])
        elif "predicted" in message:
            predicted = message["predicted"]
        else:  # a library's message, or a traceback
            output.append(line.rstrip())
    process.wait()
    return predicted, output


def _parse(line: str) -> dict[str, Any]:
    try:
        message = parse_json(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
