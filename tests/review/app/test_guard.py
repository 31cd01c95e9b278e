"""The App's guard, asked as a hostile page, a rebound name and a curious neighbour would: real server, real browser."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from playwright.sync_api import sync_playwright

from rsam_app.review.app.session import app_session, free_port

JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str]


class Server(NamedTuple):
    port: int
    dataset: Any
    url: str

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: str = "") -> Answer:
        """One request with exactly these headers; `Host` is the server's unless given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        given = {"Host": f"127.0.0.1:{self.port}", **headers}
        if body:
            given["Content-Length"] = str(len(body))
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders(body.encode() or None)
        answer = connection.getresponse()
        found = Answer(answer.status, answer.read(), dict(answer.getheaders()))
        connection.close()
        return found

    def gains(self, request: str, image: str) -> str:
        """What the answer to a request, given as its text, tells or allows another page; empty if nothing."""
        head, _, body = request.partition("\r\n\r\n")
        closing = "" if "Connection:" in head else "\r\nConnection: close"
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(f"{head}{closing}\r\n\r\n{body}".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        headers = answer.partition(b"\r\n\r\n")[0].lower()
        signs = {
            "a file of the system": b"root:" in answer,
            "the image": Path(image).read_bytes() in answer or b"content-type: image/" in headers,
            "permission to read": b"access-control-allow-origin" in headers,
            "a connection": headers.startswith(b"http/1.1 101"),
            "an answer": headers.startswith(b"http/1.1 2") and b"text/html" not in headers,
        }
        return next((name for name, given in signs.items() if given), "")


@pytest.fixture(scope="module")
def server(written: Any, fiftyone_module: ModuleType) -> Iterator[Server]:
    copy, port = written.clone("guarded", persistent=True), free_port()
    with app_session("guarded", port, True) as (_, url):
        yield Server(port, copy, url)


def media(path: str) -> str:
    return f"/media?filepath={quote(path)}"


def execute(dataset: Any) -> str:
    """A request that marks an image, if it is obeyed."""
    content = {"operator_uri": "@rsam/review/mark", "dataset_name": dataset.name, "params": {"decision": "exclude"}}
    return json.dumps(content | {"selected": [dataset.first().id]})


def marks(dataset: Any) -> list[str]:
    return [mark for mark in dataset.values("review") if mark]


REBOUND = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "localhost.evil.example",
    "evil.example@127.0.0.1",
    "169.254.169.254",
    "0.0.0.0:{port}",
    "[::]:{port}",
    "",
]


@pytest.mark.parametrize("host", REBOUND)
@pytest.mark.parametrize("path", ["/", "/fiftyone", "/plugins", "/media", "/graphql"])
def test_a_rebound_name_gets_nothing(server: Server, host: str, path: str) -> None:
    image = server.dataset.first().filepath
    answer = server.ask("GET", media(image) if path == "/media" else path, {"Host": host.format(port=server.port)})
    assert answer.status in (400, 403)
    assert answer.status == 400 or answer.body.startswith(b"refused: Host ")


PAGES = [
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:{port}"},  # the App is open under another name
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},  # localhost with another port
]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/operators/execute"), ("POST", "/graphql"), ("POST", "/event"), ("GET", "/media"), ("OPTIONS", "/tag")],
)
def test_another_page_gets_nothing(server: Server, page: dict[str, str], method: str, path: str) -> None:
    headers = {name: value.format(port=server.port) for name, value in page.items()} | JSON
    where = media(server.dataset.first().filepath) if path == "/media" else path
    answer = server.ask(method, where, headers, execute(server.dataset) if method == "POST" else "")
    assert answer.status == 403 and answer.body == b"refused: the request comes from a page of another origin.\n"
    assert not marks(server.dataset)


FORMS = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=application/json", ""]


@pytest.mark.parametrize("content_type", FORMS)
@pytest.mark.parametrize("path", ["/operators/execute", "/graphql", "/tag", "/events"])
def test_what_a_browser_sends_anywhere_without_asking_is_refused(server: Server, content_type: str, path: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = server.ask("POST", path, headers, execute(server.dataset))
    assert answer.status == 403 and b"is not JSON" in answer.body
    assert not marks(server.dataset)


def test_files_that_no_sample_has_are_refused(server: Server, tmp_path: Path) -> None:
    image = server.dataset.first().filepath
    beside = Path(image).with_name("secret.txt")
    beside.write_text("secret")
    around = f"{Path(image).parent}/../{Path(image).parent.name}/{beside.name}"
    wanted = ["/etc/passwd", "/proc/self/environ", str(beside), around, str(Path(image).parent), image + "\0", ""]
    for path in [media(one) for one in wanted] + [media(image) + "&filepath=/etc/passwd"]:
        answer = server.ask("GET", path, {})
        assert answer.status == 403 and answer.body.startswith(b"refused: the file is not"), path
    for path in ("//media?filepath=/etc/passwd", "/media/?filepath=/etc/passwd", "/%6dedia?filepath=/etc/passwd"):
        answer = server.ask("GET", path, {})
        assert b"root:" not in answer.body, path
    beside.unlink()


def test_the_app_s_own_requests_are_answered(server: Server, fiftyone_module: ModuleType, tmp_path: Path) -> None:
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin", **JSON}
    image = server.dataset.first().filepath
    assert server.ask("GET", media(image), own).body == Path(image).read_bytes()
    assert server.ask("GET", media(image), {"Host": "localhost:8080"}).status == 200, "a tunnel from another port"
    query = {"query": '{ datasets(first: 9, search: "guarded") { edges { node { name } } } }'}
    assert b'"guarded"' in server.ask("POST", "/graphql", own, json.dumps(query)).body
    heat, thumbnail = tmp_path / "heat.png", tmp_path / "small.png"
    for path in (heat, thumbnail):
        assert server.ask("GET", media(str(path)), own).status == 403
        path.write_bytes(b"pixels")
    sample = server.dataset.last()
    sample["heat"] = fiftyone_module.Heatmap(map_path=str(heat))
    sample["small"] = str(thumbnail)
    sample.save()
    server.dataset.app_config.media_fields = ["filepath", "small"]
    server.dataset.save()
    for path in (heat, thumbnail):
        assert server.ask("GET", media(str(path)), own).body == b"pixels"
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert server.ask("GET", "/datasets/guarded", link).status == 200, "a link in a mail"


OWN, EVIL = "Host: 127.0.0.1:{port}", "Origin: http://evil.example"
IMAGE, MARK = "GET {image} HTTP/1.1", "POST /operators/execute HTTP/1.1"
TYPED, LENGTH = "Content-Type: application/json", "Content-Length: {length}"
SOCKET = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")

ATTACKS: dict[str, tuple[str, ...]] = {
    "two hosts, own first": (IMAGE, OWN, "Host: evil.example"),
    "two hosts, own last": (IMAGE, "Host: evil.example", OWN),
    "a list of hosts": (IMAGE, "Host: 127.0.0.1:{port}, evil.example"),
    "no host": (IMAGE,),
    "no host, as HTTP/1.0 allows": ("GET {image} HTTP/1.0",),
    "whole address with another host": ("GET http://evil.example{image} HTTP/1.1", "Host: evil.example"),
    "whole address, whose host is ours": ("GET http://127.0.0.1:{port}{image} HTTP/1.1", "Host: evil.example"),
    "forwarded host": (IMAGE, "Host: evil.example", "X-Forwarded-Host: 127.0.0.1:{port}", "X-Forwarded-For: 127.0.0.1"),
    "the standard's forwarded host": (IMAGE, "Host: evil.example", "Forwarded: host=127.0.0.1;proto=http"),
    "host override": (IMAGE, "Host: evil.example", "X-Host: localhost", "X-Original-Host: localhost"),
    "mapped IPv6": (IMAGE, "Host: [::ffff:127.0.0.1]:{port}"),
    "IPv6 with more behind": (IMAGE, "Host: [::1].evil.example:{port}"),
    "rebinding service": (IMAGE, "Host: 7f000001.c0a80001.rbndr.us:{port}"),
    "name that resolves to loopback": (IMAGE, "Host: 127.0.0.1.nip.io:{port}"),
    "address as one number": (IMAGE, "Host: 2130706433:{port}"),
    "short address": (IMAGE, "Host: 127.1:{port}"),
    "name with a full stop behind": (IMAGE, "Host: localhost.:{port}"),
    "host after a user": (IMAGE, "Host: localhost@evil.example"),
    "two origins, own first": (IMAGE, OWN, "Origin: http://127.0.0.1:{port}", EVIL),
    "origin in capitals": (IMAGE, OWN, "ORIGIN: HTTP://EVIL.EXAMPLE"),
    "origin of another scheme": (IMAGE, OWN, "Origin: ftp://127.0.0.1:{port}"),
    "origin that begins like ours": (IMAGE, OWN, "Origin: http://127.0.0.1:{port}.evil.example"),
    "head": ("HEAD {image} HTTP/1.1", OWN, EVIL),
    "preflight": (
        *("OPTIONS /operators/execute HTTP/1.1", OWN, EVIL),
        *("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type"),
    ),
    "websocket": (
        "GET /graphql HTTP/1.1",
        OWN,
        EVIL,
        "Connection: Upgrade",
        *SOCKET,
        "Sec-WebSocket-Protocol: graphql-ws",
    ),
    "event stream": (
        "POST /events HTTP/1.1",
        OWN,
        EVIL,
        "Content-Type: text/event-stream",
        "Content-Length: 2",
        "",
        "{{}}",
    ),
    "text that is JSON": (MARK, OWN, "Content-Type: text/plain", LENGTH, "", "{mark}"),
    "two content types": (MARK, OWN, "Content-Type: text/plain", TYPED, LENGTH, "", "{mark}"),
    "list of content types": (MARK, OWN, "Content-Type: text/plain, application/json", LENGTH, "", "{mark}"),
    "JSON of another page": (MARK, OWN, EVIL, TYPED, LENGTH, "", "{mark}"),
    "JSON to another host": (MARK, "Host: evil.example", TYPED, LENGTH, "", "{mark}"),
    "method override": (
        *("GET /operators/execute HTTP/1.1", OWN, "X-HTTP-Method-Override: POST", TYPED, LENGTH, "", "{mark}"),
    ),
    "put": ("PUT /operators/execute HTTP/1.1", OWN, "Content-Type: text/plain", LENGTH, "", "{mark}"),
    "encoded path": ("GET /%6Dedia?filepath=%2Fetc%2Fpasswd HTTP/1.1", OWN),
    "path in capitals": ("GET /MEDIA?filepath=/etc/passwd HTTP/1.1", OWN),
    "path with points": ("GET /plugins/../media?filepath=/etc/passwd HTTP/1.1", OWN),
    "way up": ("GET /plugins/../../../../../../../etc/passwd HTTP/1.1", OWN),
    "encoded way up": ("GET /plugins/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd HTTP/1.1", OWN),
    "way up through an image": ("GET {image}/../../../../../../../../etc/passwd HTTP/1.1", OWN),
    "link to a file outside": ("GET {link} HTTP/1.1", OWN),
    "parameter in capitals": ("GET /media?FILEPATH=/etc/passwd&filepath={link} HTTP/1.1", OWN),
}
"""Requests line by line, as pages and what stands between them and the App could make them: all are to get nothing."""


def test_a_hostile_page_gets_nothing_in_all_attempts(server: Server, tmp_path: Path) -> None:
    image = server.dataset.first().filepath
    link = Path(image).with_name("link.png")
    link.symlink_to("/etc/passwd")
    body = execute(server.dataset)
    places = {"port": server.port, "image": media(image), "link": media(str(link)), "mark": body, "length": len(body)}
    gained = {name: server.gains("\r\n".join(lines).format(**places), image) for name, lines in ATTACKS.items()}
    link.unlink()
    assert {name: gain for name, gain in gained.items() if gain} == {}
    assert len(gained) >= 40 and not marks(server.dataset)
    assert server.gains(f"GET {media(image)} HTTP/1.1\r\nHost: localhost", image) == "the image", (
        "else it shows nothing"
    )


HOSTILE = """
<body><script>
const app = "http://127.0.0.1:PORT", got = [];
const tried = (name, ok) => got.push([name, ok]);
const image = url => new Promise(done => {
  const img = new Image(); img.onload = () => done(true); img.onerror = () => done(false); img.src = url; });
const script = url => new Promise(done => {
  const s = document.createElement("script"); s.onload = () => done(true); s.onerror = () => done(false);
  s.src = url; document.body.append(s); });
const send = (path, options) => fetch(app + path, options).then(r => r.ok, () => false);
(async () => {
  const body = JSON.stringify(EXECUTE);
  for (const type of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
    await send("/operators/execute", {method: "POST", mode: "no-cors", headers: {"Content-Type": type}, body});
  await send("/operators/execute", {method: "POST", mode: "no-cors", body: new Blob([body])});
  navigator.sendBeacon(app + "/operators/execute", body);
  const json = {"Content-Type": "application/json"};
  tried("json", await send("/operators/execute", {method: "POST", headers: json, body}));
  tried("read", await send("/media?filepath=/etc/passwd", {}));
  tried("image", await image(app + "IMAGE"));
  tried("script", await script(app + "/plugins/rsam-review/keys.js"));
  tried("graphql", await send("/graphql?query={datasets{total}}", {}));
  const form = document.createElement("form"), frame = document.createElement("iframe");
  frame.name = "hidden"; form.target = "hidden"; form.method = "POST"; form.enctype = "text/plain";
  form.action = app + "/operators/execute"; const field = document.createElement("input");
  field.name = body.slice(0, -1) + ',"x":"'; field.value = '"}'; form.append(field);
  document.body.append(frame, form); frame.onload = () => { window.got = got; };
  form.submit();
})();
</script></body>
"""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_hostile_page_in_a_browser_gets_nothing(server: Server, tmp_path: Path, chromium: str, name: str) -> None:
    image = server.dataset.first().filepath
    page_text = HOSTILE.replace("PORT", str(server.port)).replace("IMAGE", media(image))
    (tmp_path / "index.html").write_text(page_text.replace("EXECUTE", execute(server.dataset)))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as hostile:
        threading.Thread(target=hostile.serve_forever, daemon=True).start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox"])
            page = browser.new_page()
            answers: list[tuple[str, int]] = []
            page.on("response", lambda r: answers.append((r.url, r.status)) if f":{server.port}/" in r.url else None)
            page.goto(f"http://{name}:{hostile.server_address[1]}/")
            page.wait_for_function("window.got", timeout=60_000)
            got = page.evaluate("window.got")
            browser.close()
        hostile.shutdown()
    assert [one for one, _ in got] == ["json", "read", "image", "script", "graphql"]
    assert not any(ok for _, ok in got), got
    assert len(answers) >= 6 and {status for _, status in answers} == {403}, answers
    assert not marks(server.dataset)


def test_the_same_request_from_the_app_is_obeyed(server: Server) -> None:
    """Otherwise the tests above would show nothing."""
    answer = server.ask("POST", "/operators/execute", JSON, execute(server.dataset))
    assert answer.status == 200, answer.body.decode()
    assert marks(server.dataset) == ["exclude"]


def test_on_another_address_a_token_is_required(written: Any, fiftyone_module: ModuleType) -> None:
    from rsam_app.review.app.session import TOKEN

    copy, port = written.clone("open to others", persistent=True), free_port("0.0.0.0")
    image = media(copy.first().filepath)
    with app_session(copy.name, port, True, "0.0.0.0") as (session, url):
        server = Server(port, copy, url)
        for headers in ({}, {"Host": "machine"}, {"Cookie": f"rsam-{port}=x"}, {"Authorization": "token x"}):
            for path in ("/", "/fiftyone", image, "/?token=x", "/?token="):
                answer = server.ask("GET", path, headers)
                assert answer.status == 403 and b"needs a token" in answer.body
        assert server.ask("POST", "/operators/execute", JSON, execute(copy)).status == 403
        assert url.endswith(f"?token={TOKEN}")
        arrived = server.ask("GET", f"/datasets/x?view=a%20b&token={TOKEN}", {"Host": "any.name:1"})
        assert arrived.status == 303 and arrived.headers["location"] == "/datasets/x?view=a+b"
        cookie = arrived.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie
        known = {"Cookie": cookie.partition(";")[0]}
        assert server.ask("GET", image, known).status == 200
        assert server.ask("GET", image, {"Origin": "http://evil.example", **known}).status == 403
        assert server.ask("GET", media("/etc/passwd"), known).status == 403
        assert server.ask("GET", f"//evil.example/?token={TOKEN}", {}).headers.get("location") != "//evil.example/"
        session.refresh()  # raises unless the server knows this process
