"""Fuzzing in its short form: two mutations of each file that users bring, and what it would have found."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from faults import fuzz
from faults.parsers import Parser, make_parsers


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_mutated_files_are_read_or_refused_in_a_line(tmp_path: Path) -> None:
    parsers = make_parsers(tmp_path / "files")
    for parser in parsers:
        parser.read(parser.file)  # every file is valid before it is mutated
    counts, findings = fuzz.fuzz(parsers, 2 * len(parsers), seed=7)
    assert findings == []
    assert counts[fuzz.REFUSED] > len(parsers) / 2, "mutations that change nothing would show nothing"


def test_other_errors_slow_parsers_and_crashes_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("some text")
    monkeypatch.setattr(fuzz, "SECONDS", 1)

    def found(read: object) -> str:
        parser = Parser("a", tmp_path / "a.txt", "text", read)  # type: ignore[arg-type]
        return fuzz.attempt(parser, b"some text", "0.0")[1]

    assert found(lambda path: 1 / 0).startswith("ZeroDivisionError: division by zero (test_fuzz.py:")
    assert found(lambda path: time.sleep(30)).startswith("_SlowError")
    assert found(lambda path: None) == ""
    assert (tmp_path / "a.txt").read_text() == "some text"
