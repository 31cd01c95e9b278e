"""The Accelerator of a command, on one process or many."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from rsam_app.system.precision import choose_precision


def make_accelerator(precision: str = "auto") -> Accelerator:
    """Return an Accelerator for the devices that the command was launched with.

    Only float16 uses its mixed precision, for the gradient scaler; autocast is ours, so that one model runs in training
    and in evaluation. Raises `UserError` if the hardware lacks the precision.
    """
    torch.set_float32_matmul_precision("high")
    # The others wait in a collective while the main process discovers objects: hours for millions of images. Nothing
    # else needs this timeout, as `lifeline` ends the launch as soon as a process ends.
    timeout = InitProcessGroupKwargs(timeout=timedelta(hours=12))
    # Without `cpu`, processes that share a CPU would not form a group.
    cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if cpu:
        choose_precision(precision, torch.device("cpu"))
    return Accelerator(cpu=cpu, mixed_precision="fp16" if precision == "float16" else "no", kwargs_handlers=[timeout])
