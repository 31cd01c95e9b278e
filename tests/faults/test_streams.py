"""Standard streams that are closed, full or left by their reader, in the locale C, without a home."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

RSAM = f"'{sys.executable}' -m rsam_app"


def in_shell(line: str, **places: object) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, whose variables are `places`, in the locale C and without a home."""
    left_out = ("HOME", "LANG", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE")
    environment = {k: v for k, v in os.environ.items() if k not in left_out and not k.startswith("LC_")}
    environment |= {"LC_ALL": "C", "LANG": "C", **{name: str(value) for name, value in places.items()}}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, encoding="utf-8", check=False, env=environment
    )


def test_a_command_with_closed_streams_does_its_work(small: dict[str, Path], tmp_path: Path) -> None:
    """A file that takes the place of standard output would get what is printed."""
    folder, out = small["card"].parent / "images" / "test", tmp_path / "Größe.csv"
    done = in_shell(
        f'{RSAM} predict "$run" "$folder" --output "$out" <&- >&- 2>&-', run=small["run"], folder=folder, out=out
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with out.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {Path(row["path"]) for row in rows} == set(folder.rglob("*.png")) and len(rows) == 8


def test_a_command_whose_reader_leaves_ends_without_a_word(small: dict[str, Path]) -> None:
    done = in_shell(f'{RSAM} predict "$run" "$images" | head -1', run=small["run"], images=small["card"].parent)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.count("\n") == 1 and str(small["card"].parent) in done.stdout


@pytest.mark.parametrize("command", ["--version", "config schema", "config schema <&- >&-"])
def test_a_command_that_nobody_reads_is_done(command: str) -> None:
    done = in_shell(f"{RSAM} {command} | true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_full_disk_behind_the_output_is_named_once() -> None:
    done = in_shell(f"{RSAM} config schema > /dev/full")
    assert done.returncode == 2
    assert done.stderr.startswith("rsam: standard output: the disk is full.\n") and done.stderr.count("\n") == 2
