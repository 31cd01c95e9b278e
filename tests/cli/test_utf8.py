"""Names in UTF-8 are read and printed in every locale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LISTING = """
import sys
from rsam_app.cli.utf8 import use_utf8
use_utf8()
from rsam_app.config import Card
from rsam_app.data.layouts import read_listing
listing = read_listing(Card(name="birds", layout=sys.argv[1], root=sys.argv[2]))
for r in listing.records:
    assert r.path.exists()
    sys.stdout.buffer.write(f"{r.id} {r.label}\\n".encode())
"""
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0"}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python with a changed environment."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, check=False, env={**os.environ, **environment}
    )


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    (tmp_path / "birds" / "Grünfink").mkdir(parents=True)
    (tmp_path / "birds" / "Grünfink" / "ü.jpg").write_bytes(b"listed, not opened")
    (tmp_path / "birds.csv").write_text("path,label\nbirds/Grünfink/ü.jpg,Grünfink\n", encoding="utf-8")
    return tmp_path


def test_folders_and_manifests_are_read_alike_in_a_locale_without_utf8(birds: Path, tmp_path: Path) -> None:
    script = tmp_path / "listing.py"
    script.write_text(LISTING, encoding="utf-8")
    for layout, root, record in (
        ("folder", "birds", "Grünfink/ü.jpg"),
        ("manifest", "birds.csv", "birds/Grünfink/ü.jpg"),
    ):
        done = python(str(script), layout, str(birds / root), **C_LOCALE)
        assert done.stdout.decode() == f"{record} Grünfink\n", done.stderr


def test_a_library_user_is_told_about_the_locale(birds: Path, tmp_path: Path) -> None:
    script = tmp_path / "listing.py"
    script.write_text(LISTING.replace("use_utf8()\n", ""), encoding="utf-8")
    done = python(str(script), "folder", str(birds / "birds"), **C_LOCALE)
    assert b"Set PYTHONUTF8=1, or a locale with UTF-8" in done.stderr
    assert b"Rename the file" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "printed"),
    [
        (C_LOCALE, "vögel".encode()),
        ({"LANG": "C", "LC_ALL": "", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "vögel".encode()),
        ({"PYTHONIOENCODING": "ascii"}, rb"v\xf6gel"),
    ],
)
def test_a_name_is_printed_on_any_terminal(tmp_path: Path, environment: dict[str, str], printed: bytes) -> None:
    done = python("-m", "rsam_app", "evaluate", str(tmp_path / "vögel"), **environment)
    assert done.returncode == 2
    assert b"rsam: " in done.stderr and printed + b": not a run folder" in done.stderr
    assert b"Traceback" not in done.stderr


def test_help_is_printed_on_an_ascii_terminal() -> None:
    done = python("-m", "rsam_app", "select", "--help", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
