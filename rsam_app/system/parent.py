"""The end of a process with its parent, however that ends."""

from __future__ import annotations

import os
import signal
import threading
import time

from rsam_app.system.mongodb.supervisor import end_with_parent

WATCH_INTERVAL = 0.5
"""Seconds between two looks at the parent, on systems that do not send a signal."""


def terminate_with(parent: int) -> None:
    """Send this process SIGTERM when its parent, whose number was `parent`, ends.

    By the kernel on Linux, elsewhere by a thread. Raises `KeyboardInterrupt` if the parent ended before the call.
    """
    if tie := end_with_parent():
        tie()
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        raise KeyboardInterrupt


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_INTERVAL)
    os.kill(os.getpid(), signal.SIGTERM)
