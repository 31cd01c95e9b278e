"""A real HTTP server on loopback that can misbehave as real ones do."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """Files and behaviour of the server; `asked` lists the requests it received: path and Range."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    tagged: bool = True
    told_length: bool = True
    cuts: list[int] = field(default_factory=list)
    """Numbers of body bytes after which the connection ends, request by request."""
    statuses: list[int] = field(default_factory=list)
    """Statuses to answer instead, request by request."""
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


def make_server(site: Site) -> ThreadingHTTPServer:
    """Return a server of `site` on a free port; call `serve_forever` in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, span = self.path.partition("?")[0].lstrip("/"), self.headers.get("Range", "")
            site.asked.append((path, span))
            if site.statuses:
                self.send_error(site.statuses.pop(0))
            elif path in site.redirects:
                self.send_response(302)
                self.send_header("Location", site.redirects[path])
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif path not in site.files:
                self.send_error(404)
            else:
                self._send(site.files[path], span)

        def _send(self, content: bytes, span: str) -> None:
            tag = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
            start = int(re.findall(r"\d+", span)[0]) if span and site.ranges else 0
            if self.headers.get("If-Range", tag) != tag:
                start = 0
            if start > len(content) - 1 and start:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if site.told_length:
                self.send_header("Content-Length", str(len(content) - start))
            if site.tagged:
                self.send_header("ETag", tag)
            self.end_headers()
            body = content[start:]
            self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Ignore clients that disconnect, as some tests do."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.port = server.server_address[1]
    return server
