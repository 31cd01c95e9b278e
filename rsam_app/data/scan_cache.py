"""What the scan found out about files, kept between commands so that a data set opens at once the second time."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rsam_app.cache import cache_folder

VERSION = 1
"""Raise it when the scan starts to find other things: older files are then ignored."""


class ScanCache:
    """Facts (integers) about files, valid while their size and modification time (ns) stay as they were.

    A missing, damaged or older cache file is an empty cache; one that cannot be written is no error. Concurrent
    commands replace the file atomically, so that the last one's holds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = _read(path)
        self._kept: dict[str, object] = {}

    def get(self, key: str, status: os.stat_result) -> list[int] | None:
        """The facts under `key`, or None where there are none for the file as it is now."""
        entry = self._entries.get(key)
        if not isinstance(entry, list) or len(entry) != 3 or entry[:2] != [status.st_size, status.st_mtime_ns]:
            return None
        facts = entry[2]
        if not isinstance(facts, list) or not all(type(fact) is int and fact >= 0 for fact in facts):
            return None
        self._kept[key] = entry
        return facts

    def put(self, key: str, status: os.stat_result, facts: Iterable[int]) -> None:
        """Remember facts about the file as `status` describes it."""
        self._kept[key] = [status.st_size, status.st_mtime_ns, list(facts)]

    def save(self) -> str | None:
        """Write what was asked for or put since it was opened; returns why it could not, or None."""
        if self._kept == self._entries:
            return None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as stream:
                json.dump({"version": VERSION, "entries": self._kept}, stream)
            os.replace(stream.name, self.path)
        except OSError as error:
            return f"the scan of the images could not be kept for the next time ({error})"
        return None


def cache_path(name: str, root: Path) -> Path:
    """Where the scan of a data set is kept: below `$XDG_CACHE_HOME` (default `~/.cache`), `rsam/scans`."""
    digest = hashlib.sha256(os.path.abspath(root).encode(errors="surrogateescape")).hexdigest()[:12]
    return cache_folder() / "scans" / f"{name}-{digest}.json"


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if (
        not isinstance(content, dict)
        or content.get("version") != VERSION
        or not isinstance(content.get("entries"), dict)
    ):
        return {}
    entries: dict[str, object] = content["entries"]
    return entries
