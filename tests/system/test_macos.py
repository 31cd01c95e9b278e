"""Without Linux: what macOS lacks is replaced by what it has. These tests take Linux's calls away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rsam_app.system.files import allocate
from rsam_app.system.hardware import available_cores


def test_space_is_allocated_without_posix_fallocate(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    for length in (1, 3 * 2**20 + 5):
        with (tmp_path / "rows").open("wb") as stream:
            allocate(stream, length)
        found = (tmp_path / "rows").stat()
        assert found.st_size == length and found.st_blocks * 512 >= length


def test_the_cores_are_counted_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert available_cores() == os.cpu_count()


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_process_ends_with_its_parent(tmp_path, platform):
    told = tmp_path / "told"
    child = (
        f"import sys, os, time; sys.platform = {platform!r}\n"
        "from rsam_app.system.parent import terminate_with\n"
        "terminate_with(os.getppid())\n"
        f"open({str(told)!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(60)"
    )
    program = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
    parent = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 60
    while not (told.exists() and told.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    number = int(told.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while _runs(number) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(number)


def _runs(number: int) -> bool:
    state = Path(f"/proc/{number}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
