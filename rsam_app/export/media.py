"""Images into an export: copied, or linked to where they lie."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rsam_app.errors import UserError
from rsam_app.export.item import Mode


def place(image: Path, target: Path, mode: Mode) -> None:
    """Put `image` at `target`, byte for byte, its folder made where needed. Symbolic links are absolute.

    Raises `OSError` where the system refuses (e.g. a hard link to another file system, a missing image).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode == "copy":
        shutil.copyfile(image, target)
    elif mode == "hardlink":
        os.link(image.resolve(), target)
    elif mode == "symlink":
        os.symlink(image.resolve(strict=True), target)
    else:
        raise UserError(f"export mode {mode!r}: unknown. Known: copy, hardlink, symlink.")
