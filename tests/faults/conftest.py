"""A run that the tests of this folder look at and copy, and the rights of an ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from faults.small_run import make_run


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The places of a small run, with umlauts and blanks in all names; not to be changed."""
    return make_run(tmp_path_factory.mktemp("Vögel – und so"), ("a", "Grünfink", "d e", "b"), "ü {}.png")


@pytest.fixture(scope="session")
def ordinary() -> tuple[str, ...]:
    """The words that start a program without root's rights over the files of others."""
    if os.geteuid() != 0:
        return ()
    words = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    if shutil.which("setpriv") is None or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("root reads every file, and setpriv(1), which takes that right away, cannot be used")
    return words
