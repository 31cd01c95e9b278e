"""Files that appear whole or not at all, locks that end with their process, and SHA-256 digests."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def replace_atomically(path: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or a folder to; it becomes `path` when the block ends.

    A reader, or a crash, sees the old file or the new one, never a part. The path yielded does not exist yet; if the
    block raises, what it wrote is removed and `path` stays as it was. With `shared`, several processes may write the
    same path at once, each to a name of its own; the last one wins. An existing folder is not replaced: `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if shared:
        partial = Path(tempfile.mktemp(prefix=f".{path.name[:60]}-", suffix=".partial", dir=path.parent))
    else:
        partial = path.with_name(path.name + ".partial")
    _remove(partial)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        _remove(partial)
        raise


def write_atomically(path: Path, content: str | bytes, shared: bool = False) -> None:
    """Write a file by `replace_atomically`; text as UTF-8, its line endings as they are."""
    with replace_atomically(path, shared) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def locked(path: Path, exclusive: bool = True, wait: bool = True) -> Iterator[TextIO]:
    """Hold the lock file `path`, shared or for this process alone; yields it open for reading and appending.

    The kernel releases the lock when the process ends, however it ends. Raises `BlockingIOError` if another process
    holds it and `wait` is false.
    """
    with path.open("a+", encoding="utf-8") as stream:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        fcntl.flock(stream, kind if wait else kind | fcntl.LOCK_NB)
        try:
            yield stream
        finally:
            # Closing is not enough: a worker forked meanwhile has the file open too, and would keep the lock.
            fcntl.flock(stream, fcntl.LOCK_UN)


def sha256_of(source: bytes | str | Path) -> str:
    """The SHA-256 of bytes, of a text in UTF-8, or of a file's content, as 64 hexadecimal digits."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    return hashlib.sha256(source.encode() if isinstance(source, str) else source).hexdigest()


def fingerprint(*parts: Any) -> str:
    """SHA-256 of JSON-serialisable parts."""
    return sha256_of(json.dumps(parts, sort_keys=True, default=str))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
