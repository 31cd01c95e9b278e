"""Work that reports how far it is through a callback, turned into steps that an operator can yield."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

from rsam_app.system.progress import Progress

T = TypeVar("T")


def steps_of(work: Callable[[Progress], T]) -> Generator[tuple[int, int], None, T]:
    """Do `work` on a thread of its own and yield every (done, total) it reports; returns its result.

    What `work` raises is raised here.
    """
    reports: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
    ended: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            ended.append(work(lambda done, total: reports.put((done, total))))
        except BaseException as error:  # carried to the thread that waits, whatever it is
            failed.append(error)
        finally:
            reports.put(None)

    thread = threading.Thread(target=run, name="rsam-operator", daemon=True)
    thread.start()
    while (report := reports.get()) is not None:
        yield report
    thread.join()
    if failed:
        raise failed[0]
    return ended[0]
