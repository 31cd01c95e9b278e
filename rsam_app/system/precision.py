"""The number format that models compute in: the fastest one that the hardware has natively."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import torch

from rsam_app.system.errors import UserError

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_precision(setting: str, device: torch.device) -> str:
    """Return `float32`, `bfloat16` or `float16`; `auto` is bfloat16 if the hardware computes in it, else float32.

    Raises `UserError` for float16 without an accelerator.
    """
    if setting == "float16" and device.type == "cpu":
        raise UserError("train.precision: float16 needs an accelerator. Use auto, bfloat16 or float32.")
    if setting != "auto":
        return setting
    return "bfloat16" if has_native_bfloat16(device) else "float32"


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16; emulated, it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        file = Path("/proc/cpuinfo")
        flags = set(file.read_text().split()) if file.exists() else set()
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & flags)
    return False


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Return the context in which a model runs at `precision`."""
    return torch.autocast(device.type, dtype=TYPES[precision], enabled=precision != "float32")
