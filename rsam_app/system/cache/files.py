"""Files derived from other files' bytes, cached under the SHA-256 of those bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint, sha256_of, write_atomically


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/rsam` (default `~/.cache/rsam`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rsam"


def cached_file(content: bytes, suffix: str, kind: str, make: Callable[[], bytes | None] | None = None) -> Path | None:
    """Return the cached file for `content`: the bytes that `make` returns, or `content` itself without `make`.

    The file is below `KIND/` of the cache folder and is made once for equal bytes; several processes may ask for it at
    the same time. Returns None if `make` returns None. Raises `UserError` if the file cannot be written.
    """
    digest = sha256_of(content)
    path = cache_folder() / kind / digest[:2] / f"{digest}{suffix}"
    if not path.exists():
        made = content if make is None else make()
        if made is None:
            return None
        write_cached(path, made)
    return path


def write_cached(path: Path, content: bytes) -> None:
    """Write a file in the cache folder atomically. Raises `UserError` if that fails."""
    with _writing(path):
        write_atomically(path, content, shared=True)


def lock_file(kind: str, name: str) -> Path:
    """An empty file below `KIND/` of the cache folder, to lock while something with this name is written. Raises
    `UserError` if it cannot be made."""
    path = cache_folder() / kind / f"{fingerprint(name)}.lock"
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return path


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot write to the cache ({error.strerror or error}).\n"
            "Free disk space or fix the folder's permissions, or set XDG_CACHE_HOME to another folder."
        ) from error
