"""Where the time of an epoch goes: the run's own answer to why it is slow."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class TimeSpent:
    """Seconds by what they were spent on, of this process."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """The time inside counts as spent on `what`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - begun

    def drawing(self, items: Iterable[T], what: str) -> Iterator[T]:
        """The items; the time until each is there counts as spent on `what`."""
        rest = iter(items)
        while True:
            with self.on(what):
                try:
                    item = next(rest)
                except StopIteration:
                    return
            yield item

    def take(self, what: str) -> float:
        """The seconds spent on `what` since it was last taken."""
        return self.seconds.pop(what, 0.0)


def as_shares(seconds: dict[str, float]) -> str:
    """`50 s: 90 % computing, 10 % waiting for data`, in the given order."""
    total = sum(seconds.values())
    shares = ", ".join(f"{100 * value / max(total, 1e-9):.0f} % {what}" for what, value in seconds.items())
    return f"{total:.0f} s: {shares}"
