"""Checksums of downloaded files, compared with the card's or with those of the first download."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from rsam_app.config import Download
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically
from rsam_app.system.json_files import read_json

CHUNK = 1 << 20


@dataclass(frozen=True)
class Digests:
    """Size and digests that identify a file."""

    size: int
    sha256: str
    md5: str


def digests_of(path: Path) -> Digests:
    """Return size, SHA-256 and MD5 of a file. Older releases give only MD5, which detects damage but not malice."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
    return Digests(path.stat().st_size, sha256.hexdigest(), md5.hexdigest())


def mismatch(source: Download, actual: Digests, first_sha256: str) -> str:
    """Return how a file differs from the card, or from its first download if the card has no checksum; empty if it does
    not."""
    size = "" if source.size is None else str(source.size)
    for name, expected, value in (
        ("SHA-256", source.sha256, actual.sha256),
        ("MD5", source.md5, actual.md5),
        ("bytes", size, str(actual.size)),
    ):
        if expected and expected != value:
            return f"{name} {value}, the card says {expected}"
    if not (source.sha256 or source.md5) and first_sha256 and first_sha256 != actual.sha256:
        return f"SHA-256 {actual.sha256}, the first download had {first_sha256}"
    return ""


class FirstDownloads:
    """SHA-256 of the first download of each file without a checksum in its card; kept when the data is deleted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = read_json(path) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}). Fix or remove it.") from error
        self._known: dict[str, str] = content if isinstance(content, dict) else {}

    def get(self, source: Download) -> str:
        """Return the SHA-256 of the first download, or an empty string."""
        return str(self._known.get(source.url or source.name, ""))

    def put(self, source: Download, sha256: str) -> None:
        """Record the SHA-256, unless one is known."""
        if self._known.setdefault(source.url or source.name, sha256) == sha256:
            write_atomically(self.path, json.dumps(self._known, indent=2) + "\n")
