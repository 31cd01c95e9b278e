"""Predictions of a run made anew in a process of its own, for a program that must neither hold a model nor fork: the
App's server. What it does is `rsam predict`; how far it is comes as lines of JSON.

Usage: python -m rsam_app.rescore RUN SPLITS, SPLITS being `stale` or names with commas.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rsam_app.errors import UserError
from rsam_app.progress import Advance, Reporter

STALE = "stale"
"""In place of splits: those whose predictions are missing or out of date."""
REASON = 20
"""Of what a failed process printed, so many lines are passed on."""


class Step(NamedTuple):
    """How far the process is: images `done` of `total` (0: not known yet) in the part called `title`."""

    title: str
    done: int
    total: int


def rescored(run: Path, splits: Sequence[str] | None = None) -> Generator[Step, None, list[str]]:
    """Predict `splits` of the run, or those that are out of date; yields how far it is, returns the splits predicted.

    The process holds the run for writing. It ends with the generator, and with this process. Raises `UserError` with
    its reason where it fails.
    """
    command = [sys.executable, "-m", "rsam_app.rescore", str(run), ",".join(splits) if splits else STALE]
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


class _Lines(Reporter):
    """A reporter whose bars are lines of JSON."""

    @contextmanager
    def bars(self) -> Iterator[Callable[[str, int, int], None]]:
        yield lambda title, done, total: _tell(step=Step(title, done, total)._asdict())

    @contextmanager
    def _bar(self, title: str, *amounts: object) -> Iterator[Advance]:
        yield lambda done, total: _tell(step=Step(title, done, total)._asdict())


def main() -> None:
    """Predict what the command line names. Exit codes as those of `rsam`."""
    from rsam_app.job import Job
    from rsam_app.predict import predict, stale_splits

    run, wanted = Path(sys.argv[1]), sys.argv[2]
    try:
        job = Job.of_run(run, [], _Lines())
        with job.run.writing():
            splits = stale_splits(job) if wanted == STALE else wanted.split(",")
            _tell(step=Step("loading the model", 0, 0)._asdict())
            predict(job, splits)
    except UserError as error:
        print(f"rsam: {error}", flush=True)
        sys.exit(2)
    _tell(predicted=splits)


def _tell(**message: object) -> None:
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:  # nobody waits for it any more
        os._exit(1)


if __name__ == "__main__":
    main()
