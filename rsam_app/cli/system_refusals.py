"""Messages for what the system refuses in the middle of a command: a full disk, a missing permission, many files."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping

from rsam_app.system.errors import reason_of
from rsam_app.system.files import WRITING

ROOM: Mapping[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "Free disk space and rerun; completed files are intact."),
    errno.EDQUOT: ("the disk quota is used up", "Free disk space and rerun; completed files are intact."),
    errno.EFBIG: (
        "a file is larger than this disk or `ulimit -f` allows",
        "Raise the limit, or write to another disk, and rerun; completed files are intact.",
    ),
}
"""Refusals that libraries wrap in exceptions of their own, recognised by the system's words."""

OTHERS: Mapping[int, tuple[str, str]] = {
    errno.EACCES: ("permission denied", "Correct the permissions of the file or folder, or give another."),
    errno.EPERM: ("the system does not permit this", "Correct the owner of the file or folder, or give another."),
    errno.EROFS: ("the disk is read-only", "Give a folder on another disk."),
    errno.EIO: ("the disk does not answer", "Check the disk and rerun; completed files are intact."),
    errno.EMFILE: ("too many open files", "Raise the limit with `ulimit -n 4096`, or set train.workers=0, and rerun."),
    errno.ENAMETOOLONG: ("this path is longer than the system takes", "Give a shorter one."),
}

_CUT = re.compile(r"\d+ requested and \d+ written|PytorchStreamWriter failed writing file")
"""NumPy's and PyTorch's words for a write that the system cut short, without its reason."""


def refusal(error: Exception) -> str | None:
    """The message of a system error: what, where if known, and the remedy. None for another error."""
    known = {**ROOM, **OTHERS}
    number = error.errno if isinstance(error, OSError) else None
    if number not in known:
        number = next((n for n in ROOM if os.strerror(n) in str(error)), None)
    if number is None and _CUT.search(str(error)):
        number = errno.ENOSPC
    if number is None:
        return None
    what, remedy = known[number]
    where = _place(error)
    return f"{where}: {what}.\n{remedy}" if where else f"{what} ({reason_of(error)}).\n{remedy}"


def _place(error: Exception) -> str | None:
    """The file that the system names, or the one that was being written, as `noting` says."""
    named = getattr(error, "filename", None)
    if named and not str(named).endswith(".partial"):
        return str(named)
    notes = [note.removeprefix(WRITING) for note in getattr(error, "__notes__", ()) if note.startswith(WRITING)]
    return notes[0] if notes else named
