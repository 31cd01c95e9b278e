"""Programs and commands in another process with its own environment and rights: one import, then many programs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    """A program's exit code and output."""

    code: int
    stdout: str
    stderr: str


LOOP = """
import contextlib, io, json, sys, traceback
for line in sys.stdin:
    code, out = 0, io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(json.loads(line), {"__name__": "__main__"})
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            code = traceback.print_exc() or 1
    sys.stderr.flush()
    print(json.dumps([code, out.getvalue()]), flush=True)
"""


@contextmanager
def programs(
    errors: Path, environment: Mapping[str, str], before: Sequence[str] = ()
) -> Iterator[Callable[[str], Ended]]:
    """Yield a function that runs programs, one after the other, in a new process of this environment, started by the
    words `before`: imports take longer than what the programs do. The file `errors` gets what they print there."""
    command = [*before, sys.executable, "-c", LOOP]
    with (
        errors.open("w+") as written,
        errors.open() as said,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=written, text=True, env=dict(environment)
        ) as process,
    ):
        assert process.stdin and process.stdout
        requests, answers = process.stdin, process.stdout

        def run(program: str) -> Ended:
            requests.write(json.dumps(program) + "\n")
            requests.flush()
            answer = answers.readline()
            assert answer, f"the process ended: {said.read()}"
            return Ended(*json.loads(answer), said.read())

        try:
            yield run
        finally:
            requests.close()


def command(*words: object) -> str:
    """The program that gives an `rsam` command."""
    return f"import sys; sys.argv = {['rsam', *map(str, words)]!r}; from rsam_app.cli import main; main()"
