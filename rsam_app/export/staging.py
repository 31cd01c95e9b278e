"""All or nothing: an export is made in a hidden folder beside its place and renamed when it is whole."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rsam_app.export.items import Mode
from rsam_app.system.errors import UserError

REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space, choose another disk, or use --mode hardlink or symlink.",
    errno.EDQUOT: "The disk quota is used up: free some space, or use --mode hardlink or symlink.",
    errno.EXDEV: "Images and export are on different file systems: use --mode copy or symlink.",
    errno.EPERM: "The system does not allow this link: use --mode copy or symlink.",
    errno.EMLINK: "The file system allows no more links to this image: use --mode copy or symlink.",
    errno.EACCES: "Check the permissions of the file and of the folder to export to.",
    errno.EROFS: "The folder to export to is on a read-only disk: choose another.",
    errno.ENOENT: "The file vanished: restore it, or take its tag off.",
    errno.ENOTEMPTY: "Something else was written there meanwhile: choose another folder.",
}


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to write an export into; it becomes `out` where the block ends well, else nothing of it is left.

    A process that is killed can leave the hidden folder, never `out`; the next export to `out` removes it. Raises
    `UserError` where `out` exists and is not an empty folder, and where the system refuses (disk full, no permission).
    """
    out = Path(os.path.abspath(out)) if not out.is_symlink() else out.resolve()
    refuse_occupied(out)
    partial = out.with_name(f".{out.name}.partial-{uuid.uuid4().hex[:12]}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(out)
        partial.mkdir()
        with _held(partial):
            yield partial
            os.rename(partial, out)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        remedy = REMEDIES.get(error.errno or 0, "Mend this and export again.")
        where = f" ({error.filename})" if error.filename else ""
        raise UserError(
            f"{out}: not exported, nothing was left there: {error.strerror or error}{where}.\n{remedy}"
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def refuse_occupied(out: Path) -> None:
    """Raise `UserError` where `out` is anything but absent or an empty folder."""
    try:
        if not os.path.lexists(out) or (os.path.isdir(out) and not os.listdir(out)):
            return
    except OSError as error:
        raise UserError(f"{out}: cannot be looked into ({error.strerror}). Choose another folder.") from error
    if out.is_symlink() and not os.path.exists(out):
        kind = "is a link to nothing"
    else:
        kind = "the folder exists and is not empty" if os.path.isdir(out) else "exists and is no folder"
    raise UserError(f"{out}: {kind}; an export never overwrites. Choose another folder, or remove this one.")


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process, so that others can tell an abandoned folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_abandoned(out: Path) -> None:
    for folder in out.parent.glob(f".{_literal(out.name)}.partial-*"):
        handle = os.open(folder, os.O_RDONLY)
        try:
            with suppress(BlockingIOError):  # another export to the same place is at work
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        finally:
            os.close(handle)


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


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
