"""Seconds of an epoch by activity, to show why training is slow."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class TimeSpent:
    """This process's seconds by activity."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count the time inside the block as spent on `what`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - begun

    def drawing(self, items: Iterable[T], what: str) -> Iterator[T]:
        """Yield the items; the time until each arrives counts as spent on `what`."""
        rest = iter(items)
        while True:
            with self.on(what):
                try:
                    item = next(rest)
                except StopIteration:
                    return
            yield item

    def take(self, what: str) -> float:
        """Return the seconds spent on `what` since the last call, and reset them."""
        return self.seconds.pop(what, 0.0)


def as_shares(seconds: dict[str, float]) -> str:
    """`50 s: 90 % computing, 10 % waiting for data`, in the given order."""
    total = sum(seconds.values())
    shares = ", ".join(f"{100 * value / max(total, 1e-9):.0f} % {what}" for what, value in seconds.items())
    return f"{total:.0f} s: {shares}"
