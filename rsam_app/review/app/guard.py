"""The guard in front of FiftyOne's App server, which itself answers everybody and serves every readable file.

An ASGI middleware. It answers 403, with the reason in a line, unless

- the request names this server (`Host`), which a web page that rebinds its own name to 127.0.0.1 does not, or, if the
  server listens on another address, brings the token;
- it comes from the App's own page (`Origin`, `Sec-Fetch-Site`), or from no page at all;
- a POST is JSON, which a browser does not send to another origin without asking;
- a file that it asks for belongs to a sample.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

JSON_TYPES = ("application/json", "application/json-patch+json", "text/event-stream")
"""Types that the App's page declares for JSON; for its request of events it declares the answer's."""
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
OWN_PAGES = ("same-origin", "none")
"""Values of `Sec-Fetch-Site`: the App's page, or the user's own input of the address."""


@dataclass(frozen=True)
class Guard:
    """Lets the App's own requests through to `app`; `is_media` tells whether a path may be served."""

    app: ASGIApp
    address: str
    port: int
    is_media: Callable[[str], bool]
    token: str | None = None
    """Required of every request if given: in the address once, then in a cookie, or as `Authorization: token …`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        method = str(scope.get("method", "GET"))
        reason = self.refusal(request, method) or await asyncio.to_thread(self.refused_file, request)
        if reason:
            await _refuse(reason, scope, receive, send)
        elif self.token and "token" in request.query_params and method == "GET":
            await self._with_cookie(request)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def refusal(self, request: HTTPConnection, method: str) -> str | None:
        """Return why a request is refused, from its headers; None if it is not."""
        hosts, origins = request.headers.getlist("host"), request.headers.getlist("origin")
        if self.token and not self._has_token(request):
            return "this App needs a token. Open the address that rsam printed; it contains the token."
        # With a token any name of the machine will do: a cookie is sent to the name it came from only.
        if len(hosts) != 1 or not (self.token or _name(hosts[0]) in LOCAL_NAMES | {self.address.lower()}):
            return f"Host {', '.join(hosts)!r} is not this App's. Open the address that rsam printed."
        if any(origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}") for origin in origins):
            return "the request comes from a page of another origin."
        if request.headers.get("sec-fetch-site", "none") not in OWN_PAGES and not _is_followed_link(request, method):
            return "the request comes from a page of another origin."
        sent = request.headers.get("content-type")
        if (method == "POST" or sent) and method not in ("GET", "HEAD") and _media_type(sent) not in JSON_TYPES:
            return f"the content type {sent or ''!r} is not JSON."
        return None

    def refused_file(self, request: HTTPConnection) -> str | None:
        """Return why the file is refused that a request asks for; None if it asks for none, or for a sample's."""
        if request.url.path.rstrip("/") != "/media":
            return None
        if all(self.is_media(path) for path in request.query_params.getlist("filepath")):
            return None
        return "the file is not an image, mask or thumbnail of a dataset."

    def _has_token(self, request: HTTPConnection) -> bool:
        given = [
            request.query_params.get("token", ""),
            request.cookies.get(self._cookie, ""),
            request.headers.get("authorization", "").removeprefix("token "),
        ]
        return any(secrets.compare_digest(one.encode(), str(self.token).encode()) for one in given)

    @property
    def _cookie(self) -> str:
        return f"rsam-{self.port}"  # cookies do not differ by port

    def _with_cookie(self, request: HTTPConnection) -> Response:
        """A redirect to the same address without the token, so that it is not copied along."""
        query = urlencode([(key, value) for key, value in request.query_params.multi_items() if key != "token"])
        path = "/" + request.url.path.lstrip("/")  # not to `//another.host`
        answer = RedirectResponse(f"{path}?{query}" if query else path, status_code=303)
        answer.set_cookie(self._cookie, str(self.token), httponly=True, samesite="lax")
        return answer


async def _refuse(reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    await PlainTextResponse(f"refused: {reason}\n", status_code=403)(scope, receive, send)


def _name(host: str) -> str:
    """The name in a `Host` header, without its port: a tunnel may end at another port."""
    name, _, port = host.lower().rpartition(":")
    return name if name and port.isdigit() else host.lower()


def _media_type(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def _is_followed_link(request: HTTPConnection, method: str) -> bool:
    """Whether a link on another page leads here: it opens a page of the App, and shows the other page nothing."""
    headers = request.headers
    return (method, headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("GET", "navigate", "document")
