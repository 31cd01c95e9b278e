"""The folder below which the App's operators may write."""

from __future__ import annotations

import os
from pathlib import Path

from rsam_app.system.errors import UserError

VARIABLE = "RSAM_ALLOW_WRITES"
"""Environment variable that tells the App's server; without it, the folder in which `rsam` was started."""


def allow_writes(folder: Path | None) -> None:
    """Allow operators of Apps that this process opens to write below `folder`; None changes nothing.

    Raises `UserError` if there is no such folder.
    """
    if folder is None:
        return
    if not folder.is_dir():
        raise UserError(f"--allow-writes {folder}: no such folder. Create it, or give another.")
    os.environ[VARIABLE] = str(folder.resolve())


def check_allowed(folder: Path) -> None:
    """Raise `UserError` unless operators may write `folder`. Links are followed."""
    allowed = Path(os.environ.get(VARIABLE) or Path.cwd()).resolve()
    if not folder.resolve().is_relative_to(allowed):
        raise UserError(
            f"{folder}: the App writes below {allowed} only.\n"
            "Choose a folder there, or open the App with `rsam review RUN --allow-writes DIR`."
        )
