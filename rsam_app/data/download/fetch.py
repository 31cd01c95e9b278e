"""One file over HTTP: goes on where it stopped, tries again when cut, never glues two versions together."""

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
from rsam_app.system.progress import Progress
from rsam_app.system.version import __version__

CHUNK = 1 << 18
TIMEOUT = 30.0
"""Seconds without a byte until a connection counts as lost."""
TRIES = 4
"""Attempts in a row that bring nothing before giving up."""
BUSY = (408, 425, 429, 500, 502, 503, 504)


class _CutError(Exception):
    """The connection ended before the file did; what came is on disk."""


@dataclass
class Fetch:
    """One file on its way to `partial`; `checked`: a checksum will tell whether the pieces fit."""

    url: str
    partial: Path
    size: int | None
    checked: bool
    advance: Progress
    say: Callable[[str], None]
    pause: float = 1.0
    """Seconds before the first new attempt; doubled each time."""
    _total: int | None = field(default=None, init=False)

    def run(self) -> None:
        """Bring the whole file into `partial`. Raises `UserError` where that cannot be done; what came stays."""
        failures = 0
        while True:
            before = self.present
            try:
                if self._complete() or self._attempt():
                    return
            except _CutError as error:
                failures = 1 if self.present > before else failures + 1
                if failures >= TRIES:
                    of = f" of {self._total:,}" if self._total else ""
                    raise UserError(
                        f"{self.url}: the connection was lost after {self.present:,}{of} bytes ({error}).\n"
                        "Give the command again: it goes on from there."
                    ) from error
                self.say(f"{self.url}: {error}; trying again from byte {self.present:,}")
                time.sleep(self.pause * 2 ** (failures - 1))

    @property
    def present(self) -> int:
        """Bytes that are there."""
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _complete(self) -> bool:
        total = self.size if self.size is not None else self._known().get("total")
        if total is not None and self.present > total:
            self.forget()
        return total is not None and self.present == total and self.partial.exists()

    def forget(self) -> None:
        """Remove what is there, so that the next attempt begins anew."""
        self.partial.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _attempt(self) -> bool:
        start = self.present
        known = self._known()
        validator = str(known.get("validator", ""))
        if start and not (known and (validator or self.checked)):
            self.forget()  # nothing would tell whether the rest belongs to what is there
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
            if self._total is not None:  # it answered before: a cut, not a wrong address
                raise _CutError(str(error.reason)) from error
            raise UserError(
                f"{self.url}: cannot be reached ({error.reason}). Is this machine online?\n"
                "Give the command again when it is (a proxy is taken from https_proxy), or put the file at"
                f" {self.partial.with_suffix('')}."
            ) from error
        except (http.client.HTTPException, OSError) as error:
            raise _CutError(str(error) or type(error).__name__) from error
        with response:
            return self._receive(response, start)

    def _refused(self, error: urllib.error.HTTPError, start: int) -> bool:
        error.close()
        if error.code == 416 and start:
            self.forget()
            raise _CutError("the server's file is shorter than what is here") from error
        if error.code in BUSY:
            raise _CutError(f"{error.code} {error.reason}") from error
        raise UserError(
            f"{self.url}: the server answers {error.code} {error.reason}.\n"
            f"Fetch the file in another way, put it at {self.partial.with_suffix('')} and give the command again."
        ) from error

    def _receive(self, response: Any, start: int) -> bool:
        start = self._place(response, start)
        length = response.headers.get("Content-Length")
        self._total = start + int(length) if length and length.isdigit() else None
        self._check_size()
        self._remember(response)
        with self.partial.open("r+b" if start else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            self._copy(response, stream)
        if self._total is not None and self.present < self._total:
            raise _CutError("the server closed it")
        return True

    def _place(self, response: Any, start: int) -> int:
        """Where in the file the answer begins."""
        if not start:
            return 0
        if response.status == 206:
            span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
            if span and int(span[1]) == start:
                return start
            self.forget()
            raise _CutError("the server sent another part than was asked for")
        self.say(f"{self.url}: the server cannot go on, or has another version now; from the beginning")
        return 0

    def _check_size(self) -> None:
        if self.size is not None and self._total is not None and self._total != self.size:
            raise UserError(
                f"{self.url}: has {self._total:,} bytes, the card says {self.size:,}: it is not the same file.\n"
                "Look at the dataset's page; if there is a new release, correct the card."
            )
        total = self._total or self.size or 0
        free = shutil.disk_usage(self.partial.parent).free
        if total - self.present > free:
            raise UserError(
                f"{self.partial.parent}: {free / 1e9:.1f} GB are free, {total / 1e9:.1f} GB are to come.\n"
                "Make room, or set RSAM_DATA to a folder on another disk."
            )

    def _copy(self, response: Any, stream: IO[bytes]) -> None:
        most = self._total if self._total is not None else self.size
        while chunk := _read(response):
            if most is not None and stream.tell() + len(chunk) > most:
                raise UserError(f"{self.url}: sends more than {most:,} bytes. Look at the dataset's page.")
            stream.write(chunk)
            self.advance(stream.tell(), most or 0)

    @property
    def _notes(self) -> Path:
        return self.partial.with_name(self.partial.name + ".json")

    def _known(self) -> dict[str, Any]:
        """What the server said about the file that `partial` is a part of."""
        try:
            content = json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) and content.get("url") == self.url else {}

    def _remember(self, response: Any) -> None:
        tag = response.headers.get("ETag", "")
        validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
        content = {"url": self.url, "validator": validator, "total": self._total}
        self._notes.write_text(json.dumps(content), encoding="utf-8")


def _read(response: Any) -> bytes:
    try:
        chunk: bytes = response.read(CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _CutError(str(error) or type(error).__name__) from error
    return chunk


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS with the system's proxies, and nothing else: no redirect leads to a file or to FTP."""
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
