"""The log of a run folder: what its commands reported, and the traceback of what stopped them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from rsam_app.system.errors import UserError

MAX_BYTES = 2**20
"""Size at which the log is renamed to `log.txt.1`, in place of an earlier one."""

_LOG = logging.getLogger("rsam_app.run_log")
_LOG.setLevel(logging.INFO)
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False  # a program's own logging has these lines from the reporter


class _Handler(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Go on without the log: a full disk ends the command where its results are written."""


def add_to_log(line: str) -> None:
    """Add a line to the log that is open, if one is."""
    _LOG.info("%s", line)


@contextmanager
def open_log(path: Path, command: str) -> Iterator[None]:
    """Add to the log at `path` what is reported until the end, and what stops it: the text of a `UserError`, else the
    traceback. Times are in UTC."""
    handler = _Handler(path, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8", errors="replace", delay=True)
    formatter = logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    _LOG.addHandler(handler)
    try:
        add_to_log(f"== {command}")
        yield
    except UserError as error:
        add_to_log(str(error))
        raise
    except (KeyboardInterrupt, GeneratorExit):
        add_to_log("stopped")
        raise
    except BaseException:
        _LOG.info("", exc_info=True)
        raise
    finally:
        _LOG.removeHandler(handler)
        handler.close()
