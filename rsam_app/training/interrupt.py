"""Stop requests: Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP end a run between two steps, at the same step on every process."""

from __future__ import annotations

import signal
from types import FrameType

import torch
from accelerate import Accelerator

from rsam_app.system.stop_signals import leave_terminal, stop_signals


class Interrupted(Exception):  # noqa: N818 - not an error
    """A stop request ended the run, after a checkpoint."""


class StopRequest:
    """Records stop signals. A second Ctrl-C stops at once, as usual; a second one of the others does not, because a
    scheduler sends it both to the processes and to their launcher, which forwards it."""

    def __init__(self) -> None:
        self.requested = False
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, *stop_signals()):
            self._handlers[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _record(self, number: int, _: FrameType | None) -> None:
        self.requested = True
        leave_terminal(number)
        if number == signal.SIGINT:
            signal.signal(number, self._handlers[number])  # type: ignore[arg-type]

    def agreed(self, accelerator: Accelerator) -> bool:
        """Whether any process received a stop signal: the same on all. Every process must call it."""
        if accelerator.num_processes == 1:
            return self.requested
        flag = torch.tensor(float(self.requested), device=accelerator.device)
        return bool(accelerator.reduce(flag, reduction="sum").item() > 0)
