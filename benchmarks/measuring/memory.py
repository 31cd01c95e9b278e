"""The largest memory that this process held since a moment (Linux)."""

from __future__ import annotations

from pathlib import Path


def forget_peak() -> int:
    """What this process holds now, MiB; its peak is counted anew from here."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _mib("VmRSS")


def peak() -> int:
    """The most that this process held since its peak was forgotten, MiB."""
    return _mib("VmHWM")


def _mib(entry: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{entry}:")) // 1024
