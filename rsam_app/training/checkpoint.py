"""Atomic checkpoints with everything an exact resume needs."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError

from rsam_app.system.distributed.agreement import of_main
from rsam_app.system.errors import UserError, reason_of


@dataclass
class TrainingProgress:
    """A run's position: the next batch to train on, the epoch's sums so far, and the best epoch."""

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    target_loss_sum: float = 0.0
    seen: int = 0
    best: dict[str, float] = field(default_factory=dict)
    inputs: str = ""

    def begin_next_epoch(self) -> None:
        """Move to the first batch of the next epoch."""
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss_sum = self.target_loss_sum = 0.0
        self.seen = 0

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)


def save_checkpoint(accelerator: Accelerator, folder: Path) -> None:
    """Write model, optimizer, schedule, random states and everything registered; the old checkpoint is replaced once
    the new one is complete. Every process must call it. Raises `UserError` if the disk is full."""
    # Another machine may cache a file name for a minute, so each checkpoint is written under a new name.
    partial = folder.with_name(of_main(accelerator, f"{folder.name}-{secrets.token_hex(4)}.partial"))
    if accelerator.is_main_process:
        for leftover in folder.parent.glob(f"{folder.name}-*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    try:
        accelerator.save_state(str(partial))
    except (OSError, RuntimeError, SafetensorError) as error:
        free = shutil.disk_usage(folder.parent).free
        raise UserError(
            f"{folder}: the checkpoint could not be written ({reason_of(error)}; {free >> 20} MiB free).\n"
            "Free disk space and continue with `rsam train --resume`; the previous checkpoint is intact."
        ) from error
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        old = folder.with_name(folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def find_checkpoint(folder: Path) -> Path | None:
    """The checkpoint at `folder`, or the old one if a crash interrupted its replacement; None if there is none."""
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():
        return old
    return folder if folder.exists() else None
