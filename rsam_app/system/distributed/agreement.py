"""What all processes of a launch must see alike, on one machine or more."""

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

SHOWS_UP = 20.0
"""Seconds within which a shared disk must show a file that another machine wrote."""


def of_main(accelerator: Accelerator, value: T) -> T:
    """The main process's `value`, on every process: what is read from a shared disk may be older on other machines."""
    from accelerate.utils import broadcast_object_list

    if accelerator.num_processes == 1:
        return value
    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


def parameters_of_main(accelerator: Accelerator, module: Module) -> None:
    """Give `module` the main process's parameters on every process: what each computed for itself may differ in the
    last bits, on accelerators of one kind too."""
    from accelerate.utils import broadcast

    if accelerator.num_processes > 1:
        for parameter in module.parameters():
            parameter.data.copy_(broadcast(parameter.data.contiguous()))


def check_run_folder(accelerator: Accelerator, run: Path) -> None:
    """Raise `UserError` on every process where one of them does not see what the main one writes into the run."""
    place = current_rank()
    if place is None or place.machines == 1:
        return
    sign = run / of_main(accelerator, f".shared-{secrets.token_hex(8)}.partial")
    if accelerator.is_main_process:
        sign.touch()
    accelerator.wait_for_everyone()
    deadline = time.monotonic() + SHOWS_UP
    while not sign.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    blind = "" if sign.exists() else f"{platform.node()} (process {place.rank})"
    try:
        _all_without(
            accelerator,
            blind,
            f"{run}: {{}} cannot see what the main process writes into this run folder.\n"
            "Put it on a disk that all machines share, under the same path: --run DIR.",
        )
    finally:
        if accelerator.is_main_process:
            sign.unlink()


def check_data(accelerator: Accelerator, name: str, fingerprint: str) -> None:
    """Raise `UserError` on every process where one of them has another dataset or other corrections."""
    place = current_rank()
    if place is None:
        return
    differs = of_main(accelerator, fingerprint) != fingerprint
    other = f"{platform.node()} (process {place.rank})" if differs else ""
    _all_without(
        accelerator,
        other,
        f"{name}: {{}} finds other images, labels or corrections than the main process.\n"
        "Give all machines the same data below RSAM_DATA, and the same runs/corrections/.",
    )


def _all_without(accelerator: Accelerator, complaint: str, message: str) -> None:
    from accelerate.utils import gather_object

    complaints = [one for one in gather_object([complaint]) if one]
    if complaints:
        raise UserError(message.format(", ".join(complaints)))
