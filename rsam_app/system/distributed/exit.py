"""The last words of a process, and its end."""

from __future__ import annotations

import multiprocessing
import os
import sys
from contextlib import suppress
from typing import NoReturn


def lost(what: str) -> str:
    """What a person should know where a process was killed."""
    return (
        f"rsam: {what}: it was killed, perhaps for lack of memory; its launcher may say more.\n"
        "All others were ended. What had a checkpoint continues with `rsam train PIPELINE --resume` or `rsam run`."
    )


def tell(message: str) -> None:
    """Print a message, if there is one, below whatever a progress bar left."""
    if message:
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar hides it
        with suppress(OSError, ValueError):  # nobody reads any more
            sys.stderr.write(f"{show_cursor}{message}\n")
            sys.stderr.flush()


def end_now(code: int) -> NoReturn:
    """End now, from any thread: the main one may wait in a collective that will never return."""
    for child in multiprocessing.active_children():
        child.kill()  # loading processes hold what this one had locked
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)
