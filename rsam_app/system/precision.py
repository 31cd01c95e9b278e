"""The fastest arithmetic the machine computes in natively, chosen by what it has and said aloud."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import torch

from rsam_app.system.errors import UserError

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_precision(asked: str, device: torch.device) -> str:
    """`float32`, `bfloat16` or `float16`; `auto` takes bfloat16 where the hardware computes in it.

    Raises `UserError` for float16 without an accelerator."""
    if asked == "float16" and device.type == "cpu":
        raise UserError("train.precision: float16 needs an accelerator. Take auto, bfloat16 or float32.")
    if asked != "auto":
        return asked
    return "bfloat16" if has_native_bfloat16(device) else "float32"


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the processor or accelerator multiplies bfloat16 itself (emulated, it is slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        flags = Path("/proc/cpuinfo")
        words = set(flags.read_text().split()) if flags.exists() else set()
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & words)
    return False


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """The context in which a model runs at `precision`."""
    return torch.autocast(device.type, dtype=TYPES[precision], enabled=precision != "float32")
