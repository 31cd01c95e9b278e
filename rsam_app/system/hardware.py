"""The hardware of this machine, without heavy imports."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def best_device() -> torch.device:
    """Return the device for a single model: an NVIDIA or AMD GPU, else an Apple GPU, else the processor."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def processor_name() -> str:
    """Return the processor's model, or its architecture if the system does not name the model."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe_hardware() -> dict[str, Any]:
    """Return the processor, the usable cores and, if torch is already imported, the accelerators."""
    hardware: dict[str, Any] = {"processor": processor_name(), "cores": available_cores()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        hardware["accelerators"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return hardware
