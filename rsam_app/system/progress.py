"""What a person sees while a command works: lines and bars on the main process, on standard error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress


class Progress(Protocol):
    """Called as work advances: so many units `done` of `total` (0: not known yet)."""

    def __call__(self, done: int, total: int, /) -> object:
        """Report so much progress."""


class StepProgress(Protocol):
    """Called as work of several steps advances: units `done` of `total` in the step called `title`."""

    def __call__(self, title: str, done: int, total: int, /) -> object:
        """Report so much progress."""


def is_main_process() -> bool:
    """Whether this is the process that prints, writes and talks to FiftyOne; known before torch is imported."""
    return int(os.environ.get("RANK", "0")) == 0


class Reporter:
    """Lines and bars on standard error; silent on every process but the main one. Bars only in a terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, quiet=not is_main_process(), highlight=False)

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str) -> Iterator[Progress]:
        """A progress bar; yields what to call with (done, total)."""
        with self._bar(title, MofNCompleteColumn()) as advance:
            yield advance

    @contextmanager
    def bars(self) -> Iterator[StepProgress]:
        """A progress bar for each step of a work; yields what to call with (its title, done, total)."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with RichProgress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as shown:
            tasks: dict[str, TaskID] = {}

            def advance(title: str, done: int, total: int) -> None:
                if title not in tasks:
                    tasks[title] = shown.add_task(title, total=None)
                shown.update(tasks[title], completed=done, total=total or None)

            yield advance

    @contextmanager
    def transfer(self, title: str) -> Iterator[Progress]:
        """A progress bar in bytes, with their rate; yields what to call with (done, total or 0)."""
        with self._bar(title, DownloadColumn(), TransferSpeedColumn()) as advance:
            yield advance

    @contextmanager
    def _bar(self, title: str, *amounts: ProgressColumn) -> Iterator[Progress]:
        columns = (TextColumn(title), BarColumn(), *amounts, TimeRemainingColumn())
        shown = RichProgress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        with shown:
            task = shown.add_task(title, total=None)
            yield lambda done, total: shown.update(task, completed=done, total=total or None)

    @contextmanager
    def counter(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """A progress bar; yields what to call with the number of images just finished."""
        done = 0
        with self.bar(title) as advance:

            def count(images: int) -> None:
                nonlocal done
                done += images
                advance(done, total or max(done, 1))

            yield count


class Step(NamedTuple):
    """How far the process is: images `done` of `total` (0: not known yet) in the part called `title`."""

    title: str
    done: int
    total: int


class JsonLines(Reporter):
    """A reporter whose bars are lines of JSON."""

    @contextmanager
    def bars(self) -> Iterator[StepProgress]:
        """Lines in place of the bars."""
        yield lambda title, done, total: tell_parent(step=Step(title, done, total)._asdict())

    @contextmanager
    def _bar(self, title: str, *amounts: object) -> Iterator[Progress]:
        yield lambda done, total: tell_parent(step=Step(title, done, total)._asdict())


def tell_parent(**message: object) -> None:
    """Print one line of JSON for the parent process; exit when nobody reads it."""
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:  # nobody waits for it any more
        os._exit(1)
