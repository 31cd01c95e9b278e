"""The `rsam` command as a user types it, for all tests."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from rsam_app.cli import main


class Done(NamedTuple):
    """The output of a command."""

    stdout: str
    stderr: str


def rsam(*arguments: object, check: int = 0) -> Done:
    """Run the command and require its exit code; in this process, unless it starts others."""
    words = ["rsam", *map(str, arguments)]
    if "--processes" in words:
        ran = subprocess.run(
            [sys.executable, "-m", "rsam_app", *words[1:]], capture_output=True, text=True, check=False
        )
        code, done = ran.returncode, Done(ran.stdout, ran.stderr)
    else:
        out, err, before, code = io.StringIO(), io.StringIO(), sys.argv, 0
        with redirect_stdout(out), redirect_stderr(err):
            sys.argv = words
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                sys.argv = before
        done = Done(out.getvalue(), err.getvalue())
    assert code == check, done.stderr
    return done


def stop_at_first_checkpoint(how: signal.Signals, run: Path, *arguments: object) -> int:
    """Start `rsam train ARGUMENTS --run RUN` in a process, stop it at the first checkpoint; returns its exit code."""
    command = [sys.executable, "-m", "rsam_app", "train", *map(str, arguments), "--run", str(run)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not (run / "checkpoints" / "last").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(how)
    process.communicate(timeout=60)
    return process.returncode
