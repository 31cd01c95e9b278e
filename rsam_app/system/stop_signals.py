"""Signals that ask a process to stop: of Ctrl-C's kind, of schedulers, and of a terminal that is gone."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

HANG_UP = getattr(signal, "SIGHUP", None)
"""Sent when the terminal closes or its connection drops."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return SIGTERM, SIGUSR1 (SLURM sends it before a job's time limit) and SIGHUP; the last not below `nohup`, which
    lets a process outlive its terminal."""
    hang_up = [HANG_UP] if HANG_UP is not None and signal.getsignal(HANG_UP) != signal.SIG_IGN else []
    return (signal.SIGTERM, signal.SIGUSR1, *hang_up)


def stop_as_by_ctrl_c() -> None:
    """From now on these signals raise `KeyboardInterrupt`, as Ctrl-C does; in another than the main thread, do nothing,
    as Python handles signals in that one only."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in stop_signals():
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    leave_terminal(number)
    signal.default_int_handler(number, frame)


def leave_terminal(number: int) -> None:
    """After a hang-up, write to nowhere what would go to the terminal: it is gone, and writing to it fails."""
    if number != HANG_UP:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if os.isatty(stream):
            os.dup2(nowhere, stream)
    os.close(nowhere)
