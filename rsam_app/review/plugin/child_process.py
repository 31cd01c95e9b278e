"""A child process of the App's server, which must neither hold a model nor fork."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

REASON_LINES = 20
"""Last lines of a failed child's output that its `UserError` contains."""


@contextmanager
def python_child(arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run `python -m ARGUMENTS` with its output and errors in one stream; what still runs at the end is stopped."""
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def reason_of_failure(returncode: int, output: Sequence[str]) -> str:
    """The last lines of a failed child's output, or its status if it said nothing."""
    return "\n".join(output[-REASON_LINES:]) or f"the process exited with status {returncode}"
