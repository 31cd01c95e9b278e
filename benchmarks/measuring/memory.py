"""Peak memory of this process since a given moment (Linux)."""

from __future__ import annotations

from pathlib import Path


def forget_peak() -> int:
    """Reset the peak; returns the current memory, MiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _mib("VmRSS")


def peak() -> int:
    """Return the peak since the last reset, MiB."""
    return _mib("VmHWM")


def _mib(entry: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{entry}:")) // 1024
