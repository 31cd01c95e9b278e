"""Many commands in one process, in the short form: two rounds, of which the second leaves nothing behind."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from faults.repeated import commands, growth, repeat


def test_a_second_round_of_commands_holds_no_more_than_the_first(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, run = tmp_path / "temporary", tmp_path / "runs" / "one"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    shutil.copytree(small["run"], run)
    measured = repeat(commands(small | {"run": run, "out": tmp_path}), 10)
    assert growth(measured[4], measured[9], 64) == []
    assert measured[9].temporary == 0


def test_what_grows_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = []

    def leave() -> None:
        left.append((tmp_path / f"{len(left)}.txt").open("w"))

    measured = repeat(iter([leave] * 2), 2)
    assert [line.split()[0] for line in growth(*measured, 64)] == ["files", "temporary"]
    for stream in left:
        stream.close()
