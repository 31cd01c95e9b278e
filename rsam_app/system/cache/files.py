"""Files made from other files' bytes, kept beside the caches under the digest of those bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from rsam_app.system.errors import UserError


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/rsam` (default `~/.cache/rsam`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rsam"


def cached_file(content: bytes, suffix: str, kind: str, make: Callable[[], bytes | None] | None = None) -> Path | None:
    """The file made of `content` (by `make`, where it is not to be `content` itself); None where `make` gives None.

    It lies in `rsam/KIND/` of the cache folder, is made once, appears whole or not at all, and equal bytes share a
    file, so any number of processes may ask for it at once. Raises `UserError` where it cannot be written.
    """
    path = cached_path(hashlib.sha256(content).hexdigest(), suffix, kind)
    if path.exists():
        return path
    made = content if make is None else make()
    if made is None:
        return None
    write_cached(path, made)
    return path


def write_cached(path: Path, content: bytes) -> None:
    """Write a file in the cache folder so that it appears whole or not at all. Raises `UserError` where it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as stream:
            try:
                stream.write(content)
                stream.flush()
                os.fchmod(stream.fileno(), 0o644)
                os.replace(stream.name, path)
            except BaseException:
                os.unlink(stream.name)
                raise
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot be written ({error.strerror or error}).\n"
            "Make room or mend its permissions, or set XDG_CACHE_HOME to a folder elsewhere."
        ) from error


def cached_path(digest: str, suffix: str, kind: str) -> Path:
    """Where the file made of bytes with that SHA-256 lies, or would."""
    return cache_folder() / kind / digest[:2] / f"{digest}{suffix}"
