"""Standard input, output and error that are closed, or whose reader goes away: the command works on without them."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

STREAMS = ("stdin", "stdout", "stderr")


class _Output(io.FileIO):
    """A descriptor that leads to nowhere once it cannot be written: its reader is gone, as that of `rsam … | head -1`
    is, which is no error, or the disk is full, which is raised once and not at the end again."""

    reader_left = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if not isinstance(error, BrokenPipeError):
                error.filename = "standard output" if self.fileno() == 1 else "standard error"
                raise
            self.reader_left = True
            return memoryview(data).nbytes


def prepare_streams() -> None:
    """Open closed standard streams on nowhere, as the next file would take their place and get what is printed; and
    outlive the readers of output and error. Streams that a test or a notebook replaced stay as they are."""
    for number, name in enumerate(STREAMS):
        if getattr(sys, f"__{name}__") is None and getattr(sys, name) is None and _closed(number):
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
        elif number and getattr(sys, name) is getattr(sys, f"__{name}__"):
            setattr(sys, name, _outliving(getattr(sys, name)))


def reader_left() -> bool:
    """Whether nobody reads standard output any longer."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _Output) and raw.reader_left


def _outliving(stream: Any) -> Any:
    """The same stream, in front of an `_Output`."""
    if not isinstance(stream, io.TextIOWrapper) or stream.fileno() not in (1, 2):
        return stream
    stream.flush()
    raw = _Output(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False
