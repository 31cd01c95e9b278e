"""`rsam doctor --report`: what helps a maintainer, and nothing that identifies a person, a machine or a photograph."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from command import rsam

from rsam_app.config import Pipeline
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError
from rsam_app.system.progress import Reporter
from rsam_app.workflow.doctor import Check
from rsam_app.workflow.doctor_report import report


def test_it_tells_what_happened_and_nothing_personal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, data = tmp_path / "Anna Müller", tmp_path / "Vögel der Anna"
    for name, value in {"HOME": str(home), "RSAM_DATA": str(data), "LOGNAME": "anna.mueller"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", "mongodb://anna:hunter2@db.mueller.example:27017/?tls=true")
    monkeypatch.setattr(socket, "gethostname", lambda: "annas-laptop")
    run = RunFolder(tmp_path / "runs" / "annas birds")
    run.save_pipeline(Pipeline(name="annas-birds", dataset=str(data / "card.yaml"), model={"backbone": "resnet18"}))  # type: ignore[arg-type]
    with pytest.raises(UserError), run.writing():
        reporter = Reporter(quiet=True)
        reporter.say(f"reading {data / 'Amsel' / 'mit Anna.jpg'} on annas-laptop as anna.mueller")
        reporter.say(f"weights {home / '.cache' / 'w.safetensors'}; see https://hub.example/token=hf_abc, /etc/passwd")
        reporter.say("left out: Amsel/garten-anna.JPG (not an image), epoch 3/10 at 12 images/s")
        raise UserError("val: the split is empty.")
    checks = [Check("database", False, "mongodb://anna:hunter2@db.mueller.example does not respond", "Start it.")]
    text = report(checks, run.path)
    for secret in ("anna", "müller", "mueller", "hunter2", "hf_abc", "passwd", "vögel", "amsel", str(tmp_path)):
        assert secret not in text.lower(), secret
    for fact in ("- torch ", "**wrong**: database: mongodb://<address>", "FIFTYONE_DATABASE_URI", "backbone: resnet18"):
        assert fact in text
    for fact in (
        "val: the split is empty.",
        "<file>.JPG (not an image), epoch 3/10 at 12 images/s",
        "reading <data>/…",
    ):
        assert fact in text
    with pytest.raises(UserError, match="is not a run folder"):
        report(checks, tmp_path)


def test_the_command_prints_it(tmp_path: Path) -> None:
    printed = rsam("doctor", "--report").stdout
    assert printed.startswith("# rsam doctor\n- rsam-app ") and "## Checks\n- ok: Python" in printed
    assert "belongs to --report" in rsam("doctor", "--run", tmp_path, check=2).stderr
