"""The `rsam` command as a person types it, for tests of any room."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from rsam_app.cli import main


class Done(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


def rsam(*arguments: object, check: int = 0) -> Done:
    """Run the command and require its exit code; in this process, except where it starts others."""
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
