"""Progress of a command: lines and bars on standard error of the main process, or JSON for a parent process."""

from __future__ import annotations

import json
import logging
import os
import unicodedata
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

from rsam_app.system.run_log import add_to_log


class Progress(Protocol):
    """A callback for progress: units `done` of `total` (0: not known yet)."""

    def __call__(self, done: int, total: int, /) -> object:
        """Report progress."""


class StepProgress(Protocol):
    """A callback for progress in several steps: units `done` of `total` in the step `title`."""

    def __call__(self, title: str, done: int, total: int, /) -> object:
        """Report progress."""


def is_main_process() -> bool:
    """Whether this process prints, writes and uses FiftyOne; does not import torch."""
    return int(os.environ.get("RANK", "0")) == 0


def printable(text: str) -> str:
    """`text` with � for every control character but tabs and line ends."""
    return "".join("�" if unicodedata.category(c) == "Cc" and c not in "\t\n" else c for c in text)


class Reporter:
    """Lines and bars on standard error of the main process; other processes print nothing, nor does a `quiet` one. Bars
    need a terminal."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet or not is_main_process(), highlight=False)

    def say(self, text: str) -> None:
        """Print one line, and add it to the log of a run that is being written. Control characters, e.g. of a file
        name, are replaced: a terminal would obey them."""
        self.console.print(printable(text), markup=False, soft_wrap=True)
        add_to_log(printable(text))

    @contextmanager
    def bar(self, title: str) -> Iterator[Progress]:
        """Show a progress bar; yield its callback."""
        with self._bar(title, MofNCompleteColumn()) as advance:
            yield advance

    @contextmanager
    def bars(self) -> Iterator[StepProgress]:
        """Show a progress bar for each step; yield their callback."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with self._display(*columns) as display:
            tasks: dict[str, TaskID] = {}

            def advance(title: str, done: int, total: int) -> None:
                if title not in tasks:
                    tasks[title] = display.add_task(title, total=None)
                display.update(tasks[title], completed=done, total=total or None)

            yield advance

    @contextmanager
    def transfer(self, title: str) -> Iterator[Progress]:
        """Show a progress bar in bytes, with the transfer rate; yield its callback."""
        with self._bar(title, DownloadColumn(), TransferSpeedColumn()) as advance:
            yield advance

    @contextmanager
    def _bar(self, title: str, *amounts: ProgressColumn) -> Iterator[Progress]:
        with self._display(TextColumn(title), BarColumn(), *amounts, TimeRemainingColumn()) as display:
            task = display.add_task(title, total=None)
            yield lambda done, total: display.update(task, completed=done, total=total or None)

    def _display(self, *columns: ProgressColumn) -> RichProgress:
        return RichProgress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)

    @contextmanager
    def counter(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Show a progress bar; yield a callback for the number of images just finished."""
        done = 0
        with self.bar(title) as advance:

            def count(images: int) -> None:
                nonlocal done
                done += images
                advance(done, total or max(done, 1))

            yield count


class BarReporter(Reporter):
    """A reporter of bars only, for a command whose result has the lines."""

    def say(self, text: str) -> None:
        """Print nothing."""


class LogReporter(Reporter):
    """A reporter for Python programs: lines go to the logger `rsam_app`, which is silent until the program sets up
    logging; there are no bars."""

    def __init__(self) -> None:
        super().__init__()
        self.console.quiet = True

    def say(self, text: str) -> None:
        """Log one line at the level INFO on the main process."""
        add_to_log(printable(text))
        if is_main_process():
            logging.getLogger("rsam_app").info("%s", text)


class Step(NamedTuple):
    """Progress of a process: images `done` of `total` (0: not known yet) in the step `title`."""

    title: str
    done: int
    total: int


class JsonReporter(Reporter):
    """A reporter that writes JSON lines on standard output instead of bars, for a parent process."""

    @contextmanager
    def bars(self) -> Iterator[StepProgress]:
        """Yield a callback that writes each step's progress."""
        yield _write_step

    @contextmanager
    def _bar(self, title: str, *amounts: object) -> Iterator[Progress]:
        yield lambda done, total: _write_step(title, done, total)


def write_message(**message: object) -> None:
    """Write one line of JSON for the parent process; end this process if nobody reads it."""
    try:
        print(json.dumps(message), flush=True)
    except BrokenPipeError:
        os._exit(1)


def _write_step(title: str, done: int, total: int) -> None:
    write_message(step=Step(title, done, total)._asdict())
