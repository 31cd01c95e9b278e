"""The command line: fast and complete help, exit codes, and commands under a launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from command import rsam
from typer.main import get_command

from rsam_app.cli import app

HEAVY = ("torch", "timm", "fiftyone", "albumentations", "sklearn", "matplotlib", "pandas", "pyarrow")


def python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    "what",
    ["import rsam_app", "import rsam_app.cli", "from rsam_app.model import calibration, fitted, roll_up"],
)
def test_importing_us_imports_nothing_heavy(what):
    done = python(f"import sys\n{what}\nprint([m for m in {HEAVY!r} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_writing_a_run_into_fiftyone_and_opening_the_app_import_no_torch():
    what = "import rsam_app.review.writing.write_run, rsam_app.review.app.session, rsam_app.workflow.stages"
    done = python(f"import sys\n{what}\nprint('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


def test_help_names_every_command_of_the_contract():
    said = rsam("--help").stdout
    for command in (
        "demo", "run", "train", "evaluate", "compare", "predict", "review", "select", "apply", "export", "download",
        "doctor", "import-fiftyone", "init", "config",
    ):  # fmt: skip
        assert f"  {command} " in said


def test_the_summary_of_each_command_is_short_and_whole():
    summaries = {name: command.help.split("\n\n")[0] for name, command in get_command(app).commands.items()}
    assert {name: text for name, text in summaries.items() if len(text) > 50 or "\n" in text} == {}
    assert "..." not in rsam("--help").stdout.split("\nStart:\n")[1]


def test_a_mistake_of_the_user_is_two_lines_and_exit_code_2(tmp_path):
    for arguments in (["run", "no such pipeline"], ["evaluate", tmp_path], ["apply", tmp_path / "gone"]):
        done = rsam(*arguments, check=2)
        assert done.stderr.startswith("rsam: ") and len(done.stderr.strip().splitlines()) <= 2


def test_doctor_prints_its_checks_as_json(monkeypatch, tmp_path):
    monkeypatch.setenv("RSAM_DATA", str(tmp_path / "gone"))
    monkeypatch.setenv("RSAM_DATABASE_DIR", str(tmp_path / "database"))
    checks = json.loads(rsam("doctor", "--json", check=2).stdout)
    assert {"Python", "torch", "accelerator", "database", "RSAM_DATA"} <= {c["name"] for c in checks}
    wrong = [c for c in checks if not c["ok"]]
    assert any("RSAM_DATA" in c["name"] for c in wrong) and all(c["remedy"] for c in wrong)


def test_other_processes_of_a_launch_leave_fiftyone_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "rsam_app", "review", str(tmp_path)],
        capture_output=True, text=True, check=False, env={**os.environ, "RANK": "1", "WORLD_SIZE": "2"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
