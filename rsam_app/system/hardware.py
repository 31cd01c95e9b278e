"""What this machine computes with, told without importing anything heavy."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def processor_name() -> str:
    """The processor's model where the system tells it, else its architecture."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe_hardware() -> dict[str, Any]:
    """Processor, usable cores and, where torch is already loaded, the accelerators it sees."""
    found: dict[str, Any] = {"processor": processor_name(), "cores": available_cores()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["accelerators"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found
