"""UTF-8 for file names, files and the terminal, whatever the locale."""

from __future__ import annotations

import locale
import os
import sys
from typing import TextIO, cast


def use_utf8() -> None:
    """Restart the command in Python's UTF-8 mode if the locale is another one, such as C or Latin-1.

    File names are bytes, in UTF-8 on practically every disk; such a locale would read other names from them, and write
    files in another encoding. On Windows names are no bytes, so nothing is restarted.
    """
    restarted = os.environ.get("PYTHONUTF8") == "1"
    if os.name == "posix" and not (sys.flags.utf8_mode or restarted or _locale_is_utf8()):
        sys.stdout.flush()
        os.environ["PYTHONUTF8"] = "1"  # also for processes that this one starts
        arguments = [sys.orig_argv[0], "-X", "utf8", *sys.orig_argv[1:]]  # -X: PYTHON* may be ignored (`python -E`)
        os.execv(sys.executable, arguments)


def print_any_text() -> None:
    """Print what the terminal's encoding lacks as an escape such as `\\xfc`, rather than end the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not if a test or a notebook replaced it
            cast(TextIO, stream).reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]


def _locale_is_utf8() -> bool:
    encodings = (sys.getfilesystemencoding(), locale.getencoding())
    return all(encoding.lower().replace("-", "") == "utf8" for encoding in encodings)
