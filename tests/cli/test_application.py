"""Groups, short options, completion, and messages that name what the user gave."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import rsam
from typer.main import get_command

from rsam_app.cli import app
from rsam_app.cli.application import GROUPS
from rsam_app.cli.placeholders import fill_placeholders
from rsam_app.system.distributed import resume_command
from rsam_app.system.version import __version__


def test_every_command_is_in_a_group_of_the_help():
    commands = get_command(app).commands
    assert {name for name, command in commands.items() if command.rich_help_panel not in GROUPS} == set()
    said = rsam("-h").stdout
    places = [said.index(f"\n{group}:\n") for group in GROUPS]
    assert places == sorted(places)
    assert said == rsam("--help").stdout
    assert said.index("\nModel:\n") < said.index("  export-model ")
    assert said.index("\nData:\n") < said.index("  download ") < said.index("\nTrain:\n")


def test_no_option_takes_a_value_named_after_its_type():
    helps = {name: rsam(name, "-h").stdout for name in get_command(app).commands}
    untold = re.compile(r"--[a-z-]+ (?:<[a-z]+>|TEXT|INTEGER|FLOAT|PATH|FILENAME|DIRECTORY)(?=\s)")
    assert {name: found for name, text in helps.items() if (found := untold.findall(text))} == {}
    assert "--set KEY=VALUE" in helps["run"]
    assert "PIPELINE" in helps["run"].splitlines()[0] and "RUN" in helps["review"].splitlines()[0]


def test_the_version_is_printed():
    assert rsam("--version").stdout == f"rsam {__version__}\n"


def test_a_closed_choice_names_its_words():
    assert "copy|hardlink|symlink" in rsam("export", "-h").stdout
    refused = rsam("annotate", "run", "file", "--to", "paper", check=2).stderr
    assert "'paper' is not one of 'label-studio', 'cvat'" in refused


def test_closed_choices_are_those_of_the_rooms_below():
    from typing import get_args

    from rsam_app.cli.options import AnySplit
    from rsam_app.cli.review import ExportFormat, ExportMode, Tool
    from rsam_app.config import SelectConfig
    from rsam_app.export.subset import FORMATS, MODES
    from rsam_app.review.annotation_tools.exchange import READERS

    assert get_args(ExportFormat) == tuple(FORMATS)
    assert get_args(ExportMode) == tuple(MODES)
    assert get_args(Tool) == tuple(READERS)
    assert get_args(AnySplit) == get_args(SelectConfig.model_fields["split"].annotation)


def test_quiet_prints_the_result_alone_and_verbose_the_traceback_too(tmp_path):
    assert "Traceback" not in rsam("evaluate", tmp_path, check=2).stderr
    assert "Traceback" in rsam("evaluate", tmp_path, "-v", check=2).stderr
    assert "exclude each other" in rsam("evaluate", tmp_path, "-v", "-q", check=2).stderr
    assert "not a run folder" in rsam("evaluate", tmp_path, "-q", check=2).stderr


def test_quiet_leaves_out_progress(tmp_path, monkeypatch):
    from rsam_app.cli.application import Output
    from rsam_app.cli.context import reporter

    monkeypatch.setattr(Output, "quiet", True)
    assert reporter().console.quiet
    monkeypatch.setattr(Output, "quiet", False)
    assert not reporter().console.quiet


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the pipeline `parts`."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "datasets" / "parts.yaml").write_text("name: parts\nlayout: folder\nroot: parts\n")
    (tmp_path / "pipelines" / "parts.yaml").write_text("dataset: parts\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def completed(words: str) -> list[str]:
    """What bash is offered for the last of these words."""
    asked = {"_RSAM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['rsam']; from rsam_app.cli import app; app(prog_name='rsam')"],
        capture_output=True, text=True, check=False, env={**os.environ, **asked},
    )  # fmt: skip
    return done.stdout.split()


def test_the_shell_completes_commands_choices_and_names(project):
    assert completed("rsam sel") == ["select", "select-first"]
    assert completed("rsam export --mode h") == ["hardlink"]
    assert completed("rsam run p") == ["parts", "pet_mobilenetv2"]
    assert completed("rsam download oxford_f") == ["oxford_flowers_102"]
    (project / "runs" / "parts").mkdir(parents=True)
    (project / "runs" / "parts" / "config.yaml").touch()
    assert completed("rsam review ru") == ["runs/parts"]
    assert "typiclust" in " ".join(completed("rsam select run --strategy typ"))


def test_completion_can_be_shown_for_the_shell(monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/bash")
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = rsam("--show-completion", "bash").stdout
    assert "complete" in shown and "rsam" in shown.lower()


SAID = "Run `rsam run PIPELINE --round`, then `rsam review RUN`. RUN and PIPELINE outside a command stay."


def test_messages_name_the_pipeline_and_the_run_that_were_given(project):
    assert fill_placeholders(SAID, {}) == SAID
    said = fill_placeholders(SAID, {"pipeline": "pipelines/parts.yaml", "run": None})
    assert said.startswith("Run `rsam run pipelines/parts.yaml --round`, then `rsam review runs/parts`. RUN and")
    said = fill_placeholders(SAID, {"pipeline": "parts", "run": Path("my runs/one")})
    assert said.startswith("Run `rsam run parts --run 'my runs/one' --round`, then `rsam review 'my runs/one'`.")


@pytest.mark.parametrize(
    ("run", "named"),
    [("runs/parts", "parts"), ("runs/parts-round2", "parts"), ("elsewhere/a-round3", "parts --run elsewhere/a")],
)
def test_messages_name_the_pipeline_of_a_run(project, run, named):
    folder = project / run
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: parts\ndataset: parts\n")
    assert f"`rsam run {named} --round`, then `rsam review {run}`" in fill_placeholders(SAID, {"run": Path(run)})
    (project / "pipelines" / "parts.yaml").unlink()
    assert "`rsam run PIPELINE --round`" in fill_placeholders(SAID, {"run": Path(run)})


def test_an_error_names_the_run_that_was_given(project):
    (project / "parts").mkdir()
    refused = rsam("check", "parts", "--json", check=2)
    assert "PIPELINE" not in refused.stderr + json.dumps(json.loads(refused.stdout or "{}").get("next", ""))


@pytest.mark.parametrize(
    ("typed", "resumed"),
    [
        ("train parts --set train.epochs=3", "rsam train parts --set train.epochs=3 --resume"),
        ("train parts --restart -q", "rsam train parts -q --resume"),
        ("train parts --resume", "rsam train parts --resume"),
        ("run parts --round", "rsam run parts --round"),
        ("demo", "rsam demo"),
        ("-c x", "rsam train PIPELINE --resume"),
    ],
)
def test_the_command_to_resume_is_the_users_own(monkeypatch, typed, resumed):
    monkeypatch.setattr(sys, "argv", ["rsam", *typed.split()])
    monkeypatch.delenv("RSAM_LAUNCHER_REPORTS", raising=False)
    assert resume_command() == resumed


def test_the_command_to_resume_has_its_processes_again(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rsam", "train", "parts"])
    monkeypatch.setenv("RSAM_LAUNCHER_REPORTS", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert resume_command() == "rsam train parts --resume --processes 4"
