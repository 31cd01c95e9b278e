"""A stand-in of the hub's API on this machine: it stores what `huggingface_hub` commits, and serves it again."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from programs import Ended, programs


class Answer(NamedTuple):
    """A file with an answer that is not as it should be."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = {}
    hangs: bool = False
    """Nothing is sent until the client goes away."""


COMMIT = "0" * 39 + "1"
TOKEN = "hf_test"


@contextmanager
def stand_in_hub() -> Iterator[tuple[str, dict[str, dict[str, bytes | Answer]]]]:
    """Yield the address, and the files of each repository by name; writing needs `TOKEN`."""
    repositories: dict[str, dict[str, bytes | Answer]] = {}
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            """Keep the tests' output quiet."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self._send(401, {"error": "Invalid credentials"})
            if self.path == "/api/validate-yaml":
                return self._send(200, {"errors": [], "warnings": []})
            if self.path == "/api/repos/create":
                asked = json.loads(body)
                if asked["name"] == "deep":
                    return self._send(200, b"[" * 100_000)
                name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                repositories.setdefault(name, {})
                return self._send(200, {"url": f"{address}/{name}"})
            found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", self.path.partition("?")[0])
            if not found or found[1] not in repositories:
                return self._send(404, {"error": "Repository not found"})
            if found[2] == "preupload":
                files = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in json.loads(body)["files"]
                ]
                return self._send(200, {"files": files})
            for line in filter(None, body.decode().splitlines()):
                entry = json.loads(line)
                if entry["key"] == "file":
                    repositories[found[1]][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            answer = {"commitUrl": f"{address}/{found[1]}/commit/{COMMIT}", "commitOid": COMMIT, "hookOutput": ""}
            return self._send(200, answer)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path.partition("?")[0])
            if not found or found[1] not in repositories:
                return self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            content = repositories[found[1]].get(found[2])
            if content is None:
                return self._send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            # Each state of a repository is a commit of its own, as on the hub: its client keeps what a commit has.
            files = repr(sorted(repositories[found[1]].items())).encode()
            commit = {"X-Repo-Commit": hashlib.sha1(files, usedforsecurity=False).hexdigest()}
            if isinstance(content, Answer):
                return self._answer(content, commit)
            return self._send(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', **commit})

        def _answer(self, answer: Answer, commit: Mapping[str, str]) -> None:
            """Send it, and end the connection."""
            if answer.hangs:
                ended.wait(30)
            self.close_connection = True
            tag = {"ETag": f'"{hashlib.sha256(answer.body).hexdigest()}"', **commit}
            with suppress(ConnectionError):  # the client went away
                self._send(answer.status, answer.body, {**tag, "Connection": "close", **answer.headers})

        def _send(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address, repositories
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


@contextmanager
def client_of(hub: str, home: Path, **others: str) -> Iterator[Callable[[str], Ended]]:
    """Yield a function that runs programs in a new process whose hub is at the address `hub`, with `others` in its
    environment: `huggingface_hub` reads them when it is imported."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HOME": str(home), "HOME": str(home)}
    environment = {"PATH": os.environ["PATH"], "HF_ENDPOINT": hub, **paths, **others}
    with programs(home / "stderr.txt", environment) as run:
        yield run
