"""Atomic writes, file locks and SHA-256 digests."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

WRITING = "while writing "
"""The note that `noting` adds to an error begins so; the path follows."""


@contextmanager
def noting(path: Path) -> Iterator[None]:
    """Add a note to an error in the block: which file was being written. The system does not say, nor do libraries."""
    try:
        yield
    except Exception as error:
        error.add_note(f"{WRITING}{path}")
        raise


@contextmanager
def replace_atomically(path: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a path in the same folder, to write a file or a folder to; it becomes `path` when the block ends.

    Readers, and the next command after a crash, see the old content or the new one, never a part. The yielded path does
    not exist yet; if the block raises, it is removed, `path` stays unchanged, and a note on the error names it. With
    `shared`, several processes may write the same path at once, each under its own name, and the last one wins. Folders
    above `path` are created. Raises `OSError` if `path` is a folder with content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f".{path.name[:60]}-{secrets.token_hex(8)}" if shared else path.name
    partial = path.with_name(f"{name}.partial")
    remove(partial)
    try:
        with noting(path):
            yield partial
            os.replace(partial, path)
    except BaseException:
        remove(partial)
        raise


def write_atomically(path: Path, content: str | bytes, shared: bool = False) -> None:
    """Write a file with `replace_atomically`; text is encoded as UTF-8, line endings are not changed."""
    with replace_atomically(path, shared) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def locked(path: Path, exclusive: bool = True, wait: bool = True) -> Iterator[TextIO]:
    """Hold a lock on the file `path`, exclusive or shared; yield the file, open for reading and appending.

    The kernel releases the lock when the process ends, even if it is killed. Raises `BlockingIOError` if another
    process holds the lock and `wait` is false.
    """
    with path.open("a+", encoding="utf-8") as stream:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        fcntl.flock(stream, kind if wait else kind | fcntl.LOCK_NB)
        try:
            yield stream
        finally:
            # Closing is not enough: a child forked in the meantime also has the file open and would keep the lock.
            fcntl.flock(stream, fcntl.LOCK_UN)


def allocate(stream: BinaryIO, length: int) -> None:
    """Give an empty file its length, with every block on the disk, so that writing through a map cannot fail later.

    Raises `OSError` if the disk is full. Systems without posix_fallocate(3), such as macOS, write zeros.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, length)
        return
    block = bytes(2**20)
    for start in range(0, length, len(block)):
        stream.write(block[: length - start])
    stream.flush()


def sha256_of(source: bytes | str | Path) -> str:
    """Return the SHA-256 of bytes, of text as UTF-8, or of a file's content, as 64 hexadecimal digits."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    return hashlib.sha256(source.encode() if isinstance(source, str) else source).hexdigest()


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 of values as JSON; values that JSON does not know count as `str(value)`."""
    return sha256_of(json.dumps(parts, sort_keys=True, default=str))


def create_private(folder: Path) -> None:
    """Create a folder that only you can open, if it does not exist; folders above it get your usual permissions.

    If the group may write to the folder above, people share it, and the group may open the new one as well.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    shared = folder.parent.stat().st_mode & stat.S_IWGRP
    folder.mkdir(mode=0o770 if shared else 0o700, exist_ok=True)


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest existing one above it: where a missing one would be created."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
