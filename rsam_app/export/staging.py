"""Atomic exports: written to a hidden folder beside the target, which is renamed when complete."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rsam_app.export.items import ExportItem, Mode
from rsam_app.system.errors import UserError

REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space, choose another disk, or use --mode hardlink or symlink.",
    errno.EDQUOT: "The disk quota is used up: free some space, or use --mode hardlink or symlink.",
    errno.EXDEV: "Images and export are on different file systems: use --mode copy or symlink.",
    errno.EPERM: "The system does not allow this link: use --mode copy or symlink.",
    errno.EMLINK: "The file system allows no more links to this image: use --mode copy or symlink.",
    errno.EACCES: "Check the permissions of the file and of the folder to export to.",
    errno.EROFS: "The folder to export to is on a read-only disk: choose another.",
    errno.ENOENT: "The file is missing: restore it, or remove its tag.",
    errno.ENOTEMPTY: "Something else was written there in the meantime: choose another folder.",
}


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield a folder to write an export to; it becomes `out` when the block succeeds, and is removed when it raises.

    A killed process can leave the hidden folder, never `out`; the next export to `out` removes it. Raises `UserError`
    if `out` is not absent or an empty folder, and if the system refuses (disk full, no permission).
    """
    out = Path(os.path.abspath(out)) if not out.is_symlink() else out.resolve()
    refuse_occupied(out)
    partial = out.with_name(f".{out.name}.partial-{uuid.uuid4().hex[:12]}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(out)
        partial.mkdir()
        with _lock(partial):
            yield partial
            os.rename(partial, out)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        remedy = REMEDIES.get(error.errno or 0, "Fix this and rerun the command.")
        where = f" ({error.filename})" if error.filename else ""
        raise UserError(
            f"{out}: not written, nothing left behind: {error.strerror or error}{where}.\n{remedy}"
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def refuse_occupied(out: Path) -> None:
    """Raise `UserError` unless `out` is absent or an empty folder."""
    try:
        if not os.path.lexists(out) or (os.path.isdir(out) and not os.listdir(out)):
            return
    except OSError as error:
        raise UserError(f"{out}: cannot be read ({error.strerror}). Choose another folder.") from error
    kind = "the folder exists and is not empty" if os.path.isdir(out) else "exists and is not a folder"
    if out.is_symlink() and not os.path.exists(out):
        kind = "is a broken link"
    raise UserError(f"{out}: {kind}; nothing is overwritten. Choose another folder, or remove this one.")


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock the folder, at most as long as the process lives, so that others can recognise an abandoned folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_abandoned(out: Path) -> None:
    for folder in out.parent.glob(f".{glob.escape(out.name)}.partial-*"):
        handle = os.open(folder, os.O_RDONLY)
        try:
            with suppress(BlockingIOError):  # another export to `out` is running
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        finally:
            os.close(handle)


def place_images(items: Sequence[ExportItem], files: Sequence[str], folder: Path, mode: Mode) -> None:
    """Place the image of each item at its file in `folder`; see `place`."""
    for item, file in zip(items, files, strict=True):
        place(item.record.path, folder / file, mode)


def place(image: Path, target: Path, mode: Mode) -> None:
    """Copy or link `image` to `target`, creating its folder. Symbolic links are absolute.

    Raises `OSError` if the system refuses (e.g. a hard link to another file system, a missing image).
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
