"""Values, data and a run folder that are the same in all processes of a launch."""

from __future__ import annotations

import platform
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rsam_app.system.distributed.rank import current_rank
from rsam_app.system.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.nn import Module

T = TypeVar("T")

SHARED_DISK_TIMEOUT = 20.0
"""Seconds until a file that another machine wrote must be visible on a shared disk."""


def of_main(accelerator: Accelerator, value: T) -> T:
    """Return the main process's `value` on every process: on other machines a shared disk may show older files."""
    from accelerate.utils import broadcast_object_list

    if accelerator.num_processes == 1:
        return value
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


def parameters_of_main(accelerator: Accelerator, module: Module) -> None:
    """Copy the main process's parameters of `module` to every process: those computed separately may differ in the last
    bits, even on equal accelerators."""
    from accelerate.utils import broadcast

    if accelerator.num_processes > 1:
        for parameter in module.parameters():
            parameter.data.copy_(broadcast(parameter.data.contiguous()))


def check_run_folder(accelerator: Accelerator, run: Path) -> None:
    """Raise `UserError` on every process if one of them does not see what the main process writes into the run."""
    rank = current_rank()
    if rank is None or rank.machines == 1:
        return
    marker = run / of_main(accelerator, f".shared-{secrets.token_hex(8)}.partial")
    if accelerator.is_main_process:
        marker.touch()
    accelerator.wait_for_everyone()
    deadline = time.monotonic() + SHARED_DISK_TIMEOUT
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    complaint = "" if marker.exists() else f"{platform.node()} (process {rank.rank})"
    try:
        _require_no_complaint(
            accelerator,
            complaint,
            f"{run}: {{}} cannot see what the main process writes into this run folder.\n"
            "Put it on a disk that all machines share, under the same path (--run DIR).",
        )
    finally:
        if accelerator.is_main_process:
            marker.unlink()


def check_data(accelerator: Accelerator, name: str, fingerprint: str) -> None:
    """Raise `UserError` on every process if one of them has other data or corrections than the main process."""
    rank = current_rank()
    if rank is None:
        return
    differs = of_main(accelerator, fingerprint) != fingerprint
    _require_no_complaint(
        accelerator,
        f"{platform.node()} (process {rank.rank})" if differs else "",
        f"{name}: {{}} has other images, labels or corrections than the main process.\n"
        "All machines need the same data below RSAM_DATA and the same runs/corrections/.",
    )


def _require_no_complaint(accelerator: Accelerator, complaint: str, message: str) -> None:
    from accelerate.utils import gather_object

    complaints = [text for text in gather_object([complaint]) if text]
    if complaints:
        raise UserError(message.format(", ".join(complaints)))
