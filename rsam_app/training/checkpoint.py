"""Atomic checkpoints with everything an exact resume needs."""

from __future__ import annotations

import os
import pickle
import random
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import load as load_tensors
from safetensors import SafetensorError, safe_open

from rsam_app.model.weights_file import not_finite
from rsam_app.system.distributed.agreement import of_main
from rsam_app.system.errors import UserError, reason_of

STATES = "states.pt"
"""File of the states that Accelerate would otherwise load as pickles that can execute code."""
REMEDY = "Start over with `rsam train --restart`."
UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, SafetensorError)


class Stateful(Protocol):
    """An object with a state of tensors and plain values."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Restore the state."""


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


def keep_in_checkpoints(accelerator: Accelerator, states: Sequence[Stateful]) -> None:
    """Save these states with every checkpoint, and restore them with it.

    Accelerate's own `register_for_checkpointing` loads them with `weights_only=False`, which executes code.
    """

    def save(models: object, weights: object, folder: str) -> None:
        if accelerator.is_main_process:
            torch.save([state.state_dict() for state in states], Path(folder) / STATES)

    def load(models: object, folder: str) -> None:
        saved = torch.load(Path(folder) / STATES, map_location="cpu", weights_only=True)
        for state, values in zip(states, saved, strict=True):
            state.load_state_dict(values)

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


def check_checkpoint(folder: Path) -> None:
    """Raise `UserError` if a file of a checkpoint is absent, damaged, or holds more than tensors and plain values.

    Nothing in the folder can execute code. Accelerate would ignore random states that it cannot read, and continue
    with other numbers.
    """
    if not (folder / STATES).exists():
        raise UserError(f"{folder}: has no {STATES}: it is incomplete, or of an older version of RSAM.\n{REMEDY}")
    for path in sorted(folder.iterdir()):
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, framework="pt"):
                    continue
            content = load_tensors(path, map_location="cpu")
            if path.name.startswith("random_states"):
                _require_random_states(content)
        except pickle.UnpicklingError as error:  # torch's text advises unsafe loading
            raise UserError(
                f"{path}: is damaged, or holds objects that could execute code; nothing of it was run.\n{REMEDY}"
            ) from error
        except UNREADABLE as error:
            raise UserError(f"{path}: is damaged ({reason_of(error)}).\n{REMEDY}") from error


def _require_random_states(states: Any) -> None:
    """Raise what the generators raise, one of `UNREADABLE`, if random states cannot be restored."""
    random.Random().setstate(states["random_state"])
    np.random.RandomState().set_state(states["numpy_random_seed"])
    torch.Generator().set_state(states["torch_manual_seed"])


def load_checkpoint(accelerator: Accelerator, folder: Path) -> None:
    """Restore everything that `save_checkpoint` wrote. Raises `UserError` if it does not fit."""
    try:
        accelerator.load_state(str(folder))
    except (pickle.UnpicklingError, *UNREADABLE) as error:
        raise UserError(f"{folder}: cannot be restored ({reason_of(error)}).\n{REMEDY}") from error
    for model in accelerator._models:
        if name := not_finite(model.state_dict()):
            raise UserError(f"{folder}: cannot be restored ({name} has NaN or infinite values).\n{REMEDY}")


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
        shutil.rmtree(partial, ignore_errors=True)  # the next attempt needs the room
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
