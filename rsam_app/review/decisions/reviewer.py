"""The reviewer's name, which every decision carries."""

from __future__ import annotations

import getpass
import os

VARIABLE = "RSAM_WHO"
"""Environment variable with the reviewer's name."""


def reviewer_name(who: str | None = None) -> str:
    """Return `who` if given, else the value of `RSAM_WHO`, else the login name, else the user's number.

    Blanks around a name are dropped, and a blank name counts as none. A user without a login name is usual in
    containers.
    """
    for name in (who, os.environ.get(VARIABLE)):
        if name and name.strip():
            return name.strip()
    try:
        return getpass.getuser()
    except (
        OSError,
        KeyError,
        ImportError,
    ):  # Python 3.13 raises OSError; earlier ones KeyError, on Windows ImportError
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
