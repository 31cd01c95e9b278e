"""The FiftyOne App on a review dataset, and its server, which ends with it."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rsam_app.review.app.allowed_writes import allow_writes
from rsam_app.review.app.install_plugin import link_plugin
from rsam_app.review.app.review_queue import run_of
from rsam_app.review.app.saved_views import first_view
from rsam_app.review.app.scheduled_operators import run_scheduled
from rsam_app.review.dataset.fields import workspace_name
from rsam_app.review.dataset.fiftyone_internals import dataset_document, start_app_server
from rsam_app.review.dataset.schema import open_review
from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.connection import import_fiftyone

TOKEN = secrets.token_urlsafe(24)
"""Required of everybody who opens an App of this process on another address than loopback."""
LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 5151
START_TIMEOUT = 240
"""Seconds that the App's server may take to start."""
SCHEDULING = "FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS"
"""FiftyOne's switch for *Schedule* in the App. It is off by default, as a process must run what is scheduled: see
`run_scheduled`."""


@contextmanager
def app_session(
    dataset_name: str,
    port: int | None = None,
    remote: bool = False,
    address: str = LOOPBACK,
    view: str | None = None,
) -> Iterator[tuple[Any, str]]:
    """Open the App on a review dataset; yield FiftyOne's session and the address, e.g.
    `http://127.0.0.1:5151/datasets/birds`.

    - `port`: None uses 5151, or a free port if that is taken.
    - `remote`: open no browser. Without a screen none is opened either.
    - `view`: name of the saved view to open; by default the latest run's misattended images, worst first.

    The App serves its own page and this process only. With another `address` than loopback it also requires a token,
    which the yielded address contains. The server ends with the context, and with this process however it ends. Raises
    `UserError` if there is no such dataset or view, or the port is taken.
    """
    fo = import_fiftyone()
    review_set = open_review(dataset_name)
    if view is not None and not review_set.has_saved_view(view):
        known = ", ".join(review_set.list_saved_views())
        raise UserError(f"dataset {dataset_name!r} has no saved view {view!r} (has: {known}).")
    view = view or first_view(review_set)
    port, token = _port(address, port), None if is_loopback(address) else TOKEN
    link_plugin()
    logging.getLogger("fiftyone.core.config").setLevel(logging.ERROR)  # warns of its own removed options
    logging.getLogger("fiftyone").setLevel(logging.WARNING)  # its greeting has a wrong remote address
    _start_server(address, port, token)
    url = f"http://{_reachable(address)}:{port}/datasets/{quote(dataset_name)}"
    session = fo.launch_app(
        dataset=review_set,
        view=(shown := review_set.load_saved_view(view) if view else None),
        spaces=_workspace(review_set, shown),
        port=port,
        address=address,
        remote=remote or token is not None or not _has_screen(),
    )
    if token:
        url += f"?token={token}"
        if not remote and _has_screen():
            webbrowser.open(url)  # FiftyOne would open it without the token
    try:
        yield session, url
    finally:
        session.close()


def open_app(
    dataset_name: str,
    port: int | None = None,
    remote: bool = False,
    address: str = LOOPBACK,
    view: str | None = None,
    *,
    no_app: bool = False,
    writes: Path | None = None,
    report: Callable[[str], None] = print,
    meanwhile: Callable[[], object] | None = None,
) -> None:
    """Open the App on a review dataset and, in a terminal, keep it open until Ctrl-C.

    Without a terminal, start the App, report its address, and close it again; with `no_app`, only report the dataset's
    name. Operators write below `writes` only, by default below the current folder. `meanwhile` is called every second
    while the App is kept open. Raises `UserError` as `app_session` does.
    """
    allow_writes(writes)
    if no_app:
        open_review(dataset_name)
        link_plugin()  # for an App opened in another way
        report(f"FiftyOne dataset: {dataset_name}")
        return
    report("Starting the FiftyOne App …")
    with app_session(dataset_name, port, remote, address, view) as (session, url):
        report(f"FiftyOne App: {url}")
        if not is_loopback(address):
            report("Everybody with this address can see and change everything: it contains the token.")
        if remote and address == LOOPBACK:
            number, host = url.split(":")[2].split("/")[0], socket.gethostname()
            report(f"On your own machine: ssh -N -L {number}:{LOOPBACK}:{number} USER@{host}, then open that address.")
        if sys.stdout.isatty():
            with suppress(KeyboardInterrupt):
                report("Press Ctrl-C to close the App; your work is saved as you go.")
                never, colors = threading.Event(), stored_colors(dataset_name)
                while not never.wait(1.0):  # an endless wait would miss a Ctrl-C just before it
                    run_scheduled(dataset_name, report)
                    colors = follow_colors(session, colors)
                    if meanwhile:
                        meanwhile()


def stored_colors(dataset_name: str) -> Any:
    """Return the fields' colours in the database, which another process may have changed."""
    document = dataset_document(dataset_name, "app_config.color_scheme.fields")
    return ((document.get("app_config") or {}).get("color_scheme") or {}).get("fields")


def follow_colors(session: Any, known: Any) -> Any:
    """Give the App the dataset's colours if they differ from the `known` ones, e.g. after another run was written;
    return the stored colours. On its own the App never reads them again, even when its page is reloaded."""
    stored = stored_colors(session.dataset.name)
    if stored and stored != known:
        session.dataset.reload()
        session.color_scheme = session.dataset.app_config.color_scheme.copy()
    return stored


def _workspace(review_set: Any, view: Any) -> Any:
    """The workspace of the run under review, unless it was deleted."""
    key = run_of(review_set, view)
    name = workspace_name(key) if key else ""
    return review_set.load_workspace(name) if review_set.has_workspace(name) else None


def _start_server(address: str, port: int, token: str | None) -> None:
    """Start FiftyOne's App server for `launch_app`. Raises `UserError` if it does not start."""
    try:
        start_app_server(address, port, START_TIMEOUT, token)
    except TimeoutError as error:
        raise UserError(
            f"FiftyOne's App server did not start within {START_TIMEOUT} s on {address}:{port}.\n"
            "Run `rsam doctor`, or try again if the machine was busy."
        ) from error


def check_listening(address: str, port: int | None, no_app: bool = False) -> None:
    """Raise `UserError` now, before anything is written, if the App could not listen there later."""
    if not no_app:
        _port(address, port)


def check_port(address: str, port: int) -> int:
    """Return `port` if a server could listen there; otherwise raise `UserError`, which names a free port.

    FiftyOne itself would silently connect to any FiftyOne server on that port, even one with another database.
    """
    if not 0 < port < 65536:
        raise UserError(f"--port {port}: use a number from 1 to 65535.")
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just released is free
        try:
            probe.bind((address, port))
        except OSError as error:
            raise UserError(
                f"--port {port}: cannot listen on {address}:{port} ({error.strerror}); is the App open already?\n"
                f"Close it, or use another port: --port {_any_port(address)}"
            ) from error
    return port


def _port(address: str, wanted: int | None) -> int:
    return free_port(address) if wanted is None else check_port(address, wanted)


def free_port(address: str = LOOPBACK) -> int:
    """Return 5151, the App's usual port, or a free one if that is taken. Raises `UserError` if `address` is not this
    machine's."""
    try:
        return check_port(address, DEFAULT_PORT)
    except UserError:
        return check_port(address, _any_port(address))


def _any_port(address: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise UserError(
                f"--address {address}: this machine cannot listen there ({error.strerror}). Use {LOOPBACK}."
            ) from error
        return int(probe.getsockname()[1])


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a server on that address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _reachable(address: str) -> str:
    return socket.gethostname() if address in ("0.0.0.0", "::") else address


def _has_screen() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
