"""Texts that a person gives as a path but that are none here: addresses, and Windows notation."""

from __future__ import annotations

import os
import re
from pathlib import Path

_DRIVE = re.compile(r"([A-Za-z]):[\\/]+(.*)", re.DOTALL)
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)


def is_address(given: str) -> bool:
    """Return whether a text is the address of a file on the web."""
    return given.lower().startswith(("http://", "https://"))


def is_file(path: Path) -> bool:
    """Whether there is such a file; also no for a name that the file system does not take, at which `Path` raises."""
    try:
        return path.is_file()
    except OSError:
        return False


def misread(given: str | Path) -> str:
    """Return a sentence, after a blank, on what is wrong with a path that is missing and what to write instead.

    Empty if it is written as paths are here, is no link to nowhere, and its folder can be opened. An address may have
    lost a slash, as in `Path("https://…")`.
    """
    text = str(given)
    if drive := _DRIVE.fullmatch(text):
        inside = drive[2].replace("\\", "/")
        return (
            f" {text} is a path in Windows notation; write it as this system names it, e.g."
            f" /mnt/{drive[1].lower()}/{inside} in WSL."
        )
    if "\\" in text:
        return f" Paths here have slashes: write {text.replace(chr(92), '/')}."
    if address := _ADDRESS.fullmatch(text):
        if address[1].lower() == "file":
            return f" A file is given without `file://`: write /{address[2]}."
        return (
            " It is an address: download it first, e.g. `rsam download` for a card's data, and give the folder or file."
        )
    if text.startswith("~") and os.path.expanduser(text) == text:
        return f" There is no user {text[1:].partition('/')[0]!r}: write the whole path."
    if os.path.islink(text) and not os.path.exists(text):
        return f" It is a link to {os.readlink(text)}, which does not exist."
    if closed := _closed_above(Path(text).expanduser()):
        return f" The folder {closed} cannot be opened by you: correct its permissions."
    return ""


def _closed_above(path: Path) -> Path | None:
    """The outermost folder above a path that this user cannot enter: all below it seems to be missing."""
    folders = [folder for folder in reversed(path.absolute().parents) if os.path.isdir(folder)]
    return next((folder for folder in folders if not os.access(folder, os.X_OK)), None)
