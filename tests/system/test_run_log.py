"""The log of a run folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rsam_app.config import Pipeline
from rsam_app.run.folder import RunFolder
from rsam_app.system import run_log
from rsam_app.system.errors import UserError
from rsam_app.system.progress import LogReporter, Reporter


def test_what_a_command_reports_and_what_stops_it_are_in_the_runs_log(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    Reporter().say("before the run was written")
    with run.writing():
        Reporter(quiet=True).say("epoch 1\x1b[31m of 3")
    with run.writing():
        LogReporter().say("from Python")
    with pytest.raises(UserError), run.writing():
        raise UserError("the disk is full.\nFree disk space.")
    with pytest.raises(ZeroDivisionError), run.writing():
        print(1 / 0)
    with pytest.raises(KeyboardInterrupt), run.writing():
        raise KeyboardInterrupt
    Reporter().say("after it")
    log = run.log.read_text("utf-8")
    assert "epoch 1�[31m of 3\n" in log and "from Python" in log and "the disk is full.\nFree disk space." in log
    assert "print(1 / 0)" in log and "ZeroDivisionError: division by zero" in log and log.endswith(" stopped\n")
    assert "before the run" not in log and "after it" not in log
    assert len(re.findall(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ == ", log, re.M)) == 5, "one line a command"


def test_a_folder_with_nothing_but_a_log_can_become_a_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with run.writing():
        Reporter(quiet=True).say("stopped before there is a pipeline")
    run.save_pipeline(Pipeline(name="birds", dataset="birds"))
    assert run.load_pipeline().name == "birds"


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "MAX_BYTES", 200)
    run = RunFolder(tmp_path / "run")
    with run.writing():
        for number in range(30):
            Reporter(quiet=True).say(f"line {number:02}")
    logs = [path.read_text() for path in (run.log, run.log.with_name("log.txt.1"))]
    assert max(map(len, logs)) <= 200 and "line 29" in logs[0] and not run.log.with_name("log.txt.2").exists()
