"""HTTP download of one file: resumes, retries lost connections, and never mixes two versions of a file."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rsam_app.system.errors import UserError
from rsam_app.system.json_files import read_json
from rsam_app.system.progress import Progress
from rsam_app.system.version import __version__

CHUNK = 1 << 18
TIMEOUT = 30.0
"""Seconds without data after which a connection counts as lost."""
MAX_FAILURES = 4
"""Consecutive attempts without data before giving up."""
RETRY_STATUSES = (408, 425, 429, 500, 502, 503, 504)


class _LostConnectionError(Exception):
    """The connection ended before the file was complete; the part received is on disk."""


@dataclass
class Fetch:
    """Download of a file to `partial`; `checked`: a checksum will verify the result, so any part may be resumed."""

    url: str
    partial: Path
    size: int | None
    checked: bool
    advance: Progress
    say: Callable[[str], None]
    pause: float = 1.0
    """Seconds before the first retry; doubled each time."""
    _total: int | None = field(default=None, init=False)

    def run(self) -> None:
        """Download the whole file to `partial`. Raises `UserError` if that fails; the part received stays."""
        failures = 0
        while True:
            before = self.received
            try:
                if self._complete() or self._attempt():
                    return
            except _LostConnectionError as error:
                failures = 1 if self.received > before else failures + 1
                if failures >= MAX_FAILURES:
                    of = f" of {self._total:,}" if self._total else ""
                    raise UserError(
                        f"{self.url}: the connection was lost after {self.received:,}{of} bytes ({error}).\n"
                        "Rerun the command to resume from there."
                    ) from error
                self.say(f"{self.url}: {error}; retrying from byte {self.received:,}")
                time.sleep(self.pause * 2 ** (failures - 1))

    @property
    def received(self) -> int:
        """Number of bytes on disk."""
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _complete(self) -> bool:
        total = self.size if self.size is not None else self._read_notes().get("total")
        if total is not None and self.received > total:
            self.forget()
        return total is not None and self.received == total and self.partial.exists()

    def forget(self) -> None:
        """Remove the part on disk, so that the next attempt starts over."""
        self.partial.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _attempt(self) -> bool:
        start = self.received
        known = self._read_notes()
        validator = str(known.get("validator", ""))
        if start and not (known and (validator or self.checked)):
            self.forget()  # nothing would reveal that the rest belongs to another version
            start = 0
        request = urllib.request.Request(
            self.url, headers={"User-Agent": f"rsam-app/{__version__}", "Accept-Encoding": "identity"}
        )
        if start:
            request.add_header("Range", f"bytes={start}-")
            if validator:
                request.add_header("If-Range", validator)
        try:
            response = _opener().open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            return self._refused(error, start)
        except urllib.error.URLError as error:
            if self._total is not None:  # it answered before: a lost connection, not a wrong address
                raise _LostConnectionError(str(error.reason)) from error
            raise UserError(
                f"{self.url}: cannot be reached ({error.reason}). Is this machine online?\n"
                "Rerun the command when it is (https_proxy sets a proxy), or put the file at"
                f" {self.partial.with_suffix('')}."
            ) from error
        except (http.client.HTTPException, OSError) as error:
            raise _LostConnectionError(str(error) or type(error).__name__) from error
        with response:
            return self._receive(response, start)

    def _refused(self, error: urllib.error.HTTPError, start: int) -> bool:
        error.close()
        if error.code == 416 and start:
            self.forget()
            raise _LostConnectionError("the server's file is shorter than the part on disk") from error
        if error.code in RETRY_STATUSES:
            raise _LostConnectionError(f"{error.code} {error.reason}") from error
        raise UserError(
            f"{self.url}: the server answers {error.code} {error.reason}.\n"
            f"Download the file another way, put it at {self.partial.with_suffix('')} and rerun the command."
        ) from error

    def _receive(self, response: Any, start: int) -> bool:
        start = self._start_of(response, start)
        length = response.headers.get("Content-Length")
        self._total = start + int(length) if length and length.isdigit() else None
        self._check_size()
        self._write_notes(response)
        with self.partial.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            self._copy(response, stream)
        if self._total is not None and self.received < self._total:
            raise _LostConnectionError("the server closed the connection")
        return True

    def _start_of(self, response: Any, start: int) -> int:
        """Return the position in the file at which the response begins."""
        if not start:
            return 0
        if response.status == 206:
            span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
            if span and int(span[1]) == start:
                return start
            self.forget()
            raise _LostConnectionError("the server sent another part than requested")
        self.say(f"{self.url}: the server cannot resume, or has another version now; starting from the beginning")
        return 0

    def _check_size(self) -> None:
        if self.size is not None and self._total is not None and self._total != self.size:
            raise UserError(
                f"{self.url}: has {self._total:,} bytes, the card says {self.size:,}: it is another file.\n"
                "Check the dataset's page; if there is a new release, correct the card."
            )
        total = self._total or self.size or 0
        free = shutil.disk_usage(self.partial.parent).free
        if total - self.received > free:
            raise UserError(
                f"{self.partial.parent}: {free / 1e9:.1f} GB are free, the file needs {total / 1e9:.1f} GB.\n"
                "Free disk space, or set RSAM_DATA to a folder on another disk."
            )

    def _copy(self, response: Any, stream: IO[bytes]) -> None:
        limit = self._total if self._total is not None else self.size
        while chunk := _read(response):
            if limit is not None and stream.tell() + len(chunk) > limit:
                raise UserError(f"{self.url}: sends more than {limit:,} bytes. Check the dataset's page.")
            stream.write(chunk)
            self.advance(stream.tell(), limit or 0)

    @property
    def _notes(self) -> Path:
        return self.partial.with_name(self.partial.name + ".json")

    def _read_notes(self) -> dict[str, Any]:
        """Return the server's description of the file that `partial` is a part of."""
        try:
            content = read_json(self._notes)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) and content.get("url") == self.url else {}

    def _write_notes(self, response: Any) -> None:
        tag = response.headers.get("ETag", "")
        validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
        content = {"url": self.url, "validator": validator, "total": self._total}
        self._notes.write_text(json.dumps(content), encoding="utf-8")


def _read(response: Any) -> bytes:
    try:
        chunk: bytes = response.read(CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _LostConnectionError(str(error) or type(error).__name__) from error
    return chunk


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for HTTP and HTTPS with the system's proxies only: no redirect leads to a file or to FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
