"""Ctrl-C, SIGTERM and SIGUSR1 end a run between two steps, with a checkpoint, on all processes at the same step."""

from __future__ import annotations

import signal
from types import FrameType

import torch
from accelerate import Accelerator


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """The run was asked to stop and left a checkpoint."""


class StopRequest:
    """Remembers that the run was asked to stop. A second Ctrl-C stops at once, as usual; a second SIGTERM or SIGUSR1
    does not, for a scheduler sends it to a launcher, which passes it on, and to its processes too."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _: FrameType | None) -> None:
        self.asked = True
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])  # type: ignore[arg-type]

    def agreed(self, accelerator: Accelerator) -> bool:
        """Whether any process was asked to stop; the same answer everywhere. Every process must call it."""
        if accelerator.num_processes == 1:
            return self.asked
        flag = torch.tensor(float(self.asked), device=accelerator.device)
        return bool(accelerator.reduce(flag, reduction="sum").item() > 0)
