"""Work on a thread whose progress an operator can yield."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

from rsam_app.system.progress import Progress

T = TypeVar("T")


def steps_of(work: Callable[[Progress], T]) -> Generator[tuple[int, int], None, T]:
    """Run `work` on a thread; yield each (done, total) that it reports, return its result or raise its error."""
    reports: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(lambda done, total: reports.put((done, total))))
        except BaseException as error:  # raised again on the waiting thread
            errors.append(error)
        finally:
            reports.put(None)

    thread = threading.Thread(target=run, name="rsam-operator", daemon=True)
    thread.start()
    while (report := reports.get()) is not None:
        yield report
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
