"""The Accelerator of a command, the same on one process, many, or none but the CPU."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from rsam_app.system.precision import choose_precision


def make_accelerator(precision: str = "auto") -> Accelerator:
    """An Accelerator on whatever the command was launched with.

    We cast ourselves, so that one model can run in training and in evaluation; only float16 needs its scaler. Raises
    `UserError` for a precision that the hardware lacks.
    """
    torch.set_float32_matmul_precision("high")
    # The others wait in a collective while the main process looks for objects, which takes hours where there are
    # millions of images. Nothing else needs this time: whoever dies is noticed at once by `launching.lifeline`.
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=12))
    # Without this, processes that share a CPU would each believe to be alone.
    cpu = not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if cpu:
        choose_precision(precision, torch.device("cpu"))
    return Accelerator(cpu=cpu, mixed_precision="fp16" if precision == "float16" else "no", kwargs_handlers=[patience])
