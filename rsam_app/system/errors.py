"""The exception for errors that the user can fix, the "did you mean" and the reasons in its messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_LISTED = 40
"""`suggest` lists at most this many known words."""

SHOWN = 3
"""Names, and lines, of a library's list that a message shows."""

LONGEST_LINE = 2000
"""Characters of a message's line at most."""


class UserError(Exception):
    """An error that the user can fix. The command line prints its message without a traceback and exits with code 2.

    The message has one or two lines: what is wrong, where (file, row, key, value), what to do. The middle of a line
    beyond `LONGEST_LINE` is left out: a damaged file may hold a value of any length.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(map(_shortened, message.split("\n"))))


def _shortened(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[: LONGEST_LINE * 3 // 4]} … {line[-LONGEST_LINE // 4 :]}"


def reason_of(error: BaseException) -> str:
    """The first line of a library's error without its full stop; the error's type if it has no text.

    A first line that announces others, by a colon, is followed by these, of a list of names the first `SHOWN`.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if isinstance(error, KeyError):  # its text is the key alone
        return f"no {lines[0]}"
    announced = [_first_names(line) for line in lines[1:]] if lines[0].endswith(":") else []
    more = [f"and {len(announced) - SHOWN} more lines"] if len(announced) > SHOWN else []
    return " ".join([lines[0], *(line.rstrip(".") + ";" for line in announced[:SHOWN]), *more]).rstrip(".;")


def _first_names(line: str) -> str:
    names = line.split('", "')
    return '", "'.join(names[:SHOWN]) + f'" and {len(names) - SHOWN} more' if len(names) > SHOWN else line


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known word most similar to `word`; None if the similarity (0 to 1) of all is below `cutoff`."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def suggest(word: str, known: Iterable[str]) -> str:
    """A sentence to append to a message about an unknown `word`: the nearest known word, or all of them if few."""
    known = list(known)
    if close := nearest(word, known):
        return f" Did you mean {close!r}?"
    return f" Known: {', '.join(known)}." if 0 < len(known) <= MAX_LISTED else ""
