"""What the system refuses, as the message of a command."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rsam_app.cli.system_refusals import refusal
from rsam_app.system.files import replace_atomically, write_atomically


def raised(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (raised(errno.EACCES, "a/b.png"), "a/b.png: permission denied.\nCorrect the permissions"),
        (raised(errno.EROFS, "a"), "a: the disk is read-only.\nGive a folder on another disk."),
        (raised(errno.ENAMETOOLONG, "aaa"), "aaa: this path is longer than the system takes.\nGive a shorter one."),
        (raised(errno.EMFILE, "a"), "a: too many open files.\nRaise the limit with `ulimit -n 4096`"),
        (RuntimeError("cannot: No space left on device (os error 28)"), "the disk is full (cannot: No space left"),
        (OSError("4096 requested and 17 written"), "the disk is full (4096 requested and 17 written).\nFree"),
    ],
)
def test_it_names_place_and_remedy(error: Exception, message: str) -> None:
    said = refusal(error)
    assert said is not None and said.startswith(message) and said.count("\n") == 1


@pytest.mark.parametrize(
    "error", [ValueError("permission"), FileNotFoundError(errno.ENOENT, "no such file"), OSError()]
)
def test_other_errors_are_none(error: Exception) -> None:
    assert refusal(error) is None


def test_the_file_that_was_being_written_is_named_unless_another_one_failed(tmp_path: Path) -> None:
    with pytest.raises(OSError) as full, replace_atomically(tmp_path / "table.csv"):
        raise raised(errno.ENOSPC)
    assert str(refusal(full.value)).startswith(f"{tmp_path / 'table.csv'}: the disk is full.")
    with pytest.raises(OSError) as denied, replace_atomically(tmp_path / "table.csv") as partial:
        write_atomically(partial / "inner", "text")
        raise raised(errno.EACCES, "photograph.png")
    assert str(refusal(denied.value)).startswith("photograph.png: permission denied.")
    assert not list(tmp_path.iterdir())
