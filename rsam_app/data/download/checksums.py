"""Is this the file that the card means?"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from rsam_app.config import Download
from rsam_app.system.errors import UserError

CHUNK = 1 << 20


@dataclass(frozen=True)
class Digests:
    """What identifies a file."""

    size: int
    sha256: str
    md5: str


def digests_of(path: Path) -> Digests:
    """Size, SHA-256 and MD5 (which releases of the time give; it finds damage, not malice) of a file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
    return Digests(path.stat().st_size, sha256.hexdigest(), md5.hexdigest())


def objection(source: Download, found: Digests, first_seen: str) -> str:
    """Why a file is not the one that the card means, or that was fetched the first time; empty where it is."""
    for what, expected, actual in (
        ("SHA-256", source.sha256, found.sha256),
        ("MD5", source.md5, found.md5),
        ("bytes", "" if source.size is None else str(source.size), str(found.size)),
    ):
        if expected and expected != actual:
            return f"{what} {actual}, the card says {expected}"
    if not (source.sha256 or source.md5) and first_seen and first_seen != found.sha256:
        return f"SHA-256 {found.sha256}, the first time it was {first_seen}"
    return ""


class FirstSeen:
    """SHA-256 of files whose card gives no checksum, as they were fetched the first time; kept when the data goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}). Mend or remove it.") from error
        self._known: dict[str, str] = content if isinstance(content, dict) else {}

    def get(self, source: Download) -> str:
        """The SHA-256 of the file the first time, or nothing."""
        return str(self._known.get(_key(source), ""))

    def put(self, source: Download, sha256: str) -> None:
        """Remember it, unless one is known."""
        if self._known.setdefault(_key(source), sha256) == sha256:
            self.path.write_text(json.dumps(self._known, indent=2) + "\n", encoding="utf-8")


def _key(source: Download) -> str:
    return source.url or source.name
