"""The App: opened on one dataset, on loopback unless told otherwise, and closed without leaving a server behind."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rsam_app.review.app.install_plugin import link_plugin
from rsam_app.review.app.layout import workspace_name
from rsam_app.review.app.saved_views import first_view
from rsam_app.review.app.scheduled_operators import run_scheduled
from rsam_app.review.dataset.schema import open_review, run_keys
from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.connection import import_fiftyone

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 5151
PATIENCE = 240
"""Seconds that the App's server may take to start."""
SCHEDULING = "FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS"
"""FiftyOne's switch for *Schedule* in the App; it is off, because something must take up what is scheduled: we do."""


@contextmanager
def app(
    dataset_name: str,
    port: int | None = None,
    *,
    remote: bool = False,
    address: str = LOOPBACK,
    view: str | None = None,
) -> Iterator[str]:
    """The App on a review dataset, as a context; yields its address, e.g. `http://127.0.0.1:5151/datasets/birds`.

    `port`: None takes 5151 or, where that is taken, a free one. `remote`: no browser is opened here; neither is one
    where this machine has no screen. `view`: name of a saved view to open; the latest run's misattended images, worst
    first, where not given. The server ends with the context, and also with this process however it ends.

    Raises `UserError` where there is no such dataset or view, or the port is taken.
    """
    with _session(dataset_name, port, remote, address, view) as (_, url):
        yield url


@contextmanager
def _session(
    dataset_name: str, port: int | None, remote: bool, address: str, view: str | None
) -> Iterator[tuple[Any, str]]:
    """FiftyOne's session, and the App's address."""
    fo = import_fiftyone()
    review_set = open_review(dataset_name)
    if view is not None and not review_set.has_saved_view(view):
        known = ", ".join(review_set.list_saved_views())
        raise UserError(f"dataset {dataset_name!r} has no saved view {view!r} (has: {known}).")
    view = view or first_view(review_set)
    port = free_port(address) if port is None else check_port(address, port)
    link_plugin()
    logging.getLogger("fiftyone.core.config").setLevel(logging.ERROR)  # warns of options of its own that are gone
    logging.getLogger("fiftyone").setLevel(logging.WARNING)  # its greeting names the wrong address for a remote server
    _start_server(address, port)
    session = fo.launch_app(
        dataset=review_set,
        view=review_set.load_saved_view(view) if view else None,
        spaces=_workspace(review_set),
        port=port,
        address=address,
        remote=remote or not _has_screen(),
    )
    try:
        yield session, f"http://{_reachable(address)}:{port}/datasets/{dataset_name}"
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
    report: Callable[[str], None] = print,
) -> None:
    """Open the App on a review dataset and, in a terminal, keep it open until Ctrl-C.

    Without a terminal the App is started, its address reported, and closed again; with `no_app` only the dataset's
    name is reported. Raises `UserError` as `app` does.
    """
    if no_app:
        open_review(dataset_name)
        link_plugin()  # for an App that is opened otherwise
        report(f"FiftyOne dataset: {dataset_name}")
        return
    report("Starting the FiftyOne App …")
    with _session(dataset_name, port, remote, address, view) as (session, url):
        report(f"FiftyOne App: {url}")
        if remote and address == LOOPBACK:
            number, host = url.split(":")[2].split("/")[0], socket.gethostname()
            report(
                f"From your own machine: ssh -N -L {number}:{LOOPBACK}:{number} USER@{host}, then open that address."
            )
        if sys.stdout.isatty():
            with suppress(KeyboardInterrupt):
                report("Ctrl-C ends it; everything you did is saved as you do it.")
                never, colors = threading.Event(), stored_colors(dataset_name)
                while not never.wait(1.0):  # an endless wait would miss a Ctrl-C that comes just before it begins
                    run_scheduled(dataset_name, report)
                    colors = follow_colors(session, colors)


def stored_colors(dataset_name: str) -> Any:
    """The colours of fields as the database has them now, whatever this process holds."""
    import fiftyone as fo

    asked = {"name": dataset_name}, {"app_config.color_scheme.fields": 1}
    found = fo.core.odm.get_db_conn().datasets.find_one(*asked) or {}
    return ((found.get("app_config") or {}).get("color_scheme") or {}).get("fields")


def follow_colors(session: Any, held: Any) -> Any:
    """Give the App the dataset's colours where they are no longer those `held`, because another run was written, say:
    it keeps those that it began with otherwise, also when its page is reloaded. Returns what is stored."""
    stored = stored_colors(session.dataset.name)
    if stored and stored != held:
        session.dataset.reload()
        session.color_scheme = session.dataset.app_config.color_scheme.copy()
    return stored


def _workspace(review_set: Any) -> Any:
    names = [workspace_name(key) for key in run_keys(review_set)[:1]]
    return next((review_set.load_workspace(name) for name in names if review_set.has_workspace(name)), None)


def _start_server(address: str, port: int) -> None:
    """Start FiftyOne's server where `launch_app` looks for it. Raises `UserError` where it does not come up.

    `launch_app` itself gives the server a minute, which is not enough on a busy machine that imports it for the first
    time, and then leaves a thread behind that complains every ten seconds.
    """
    import fiftyone as fo
    import fiftyone.constants as foc
    from fiftyone.core.service import ServerService, ServiceListenTimeout
    from fiftyone.core.session import session as sessions

    class PatientServer(ServerService):
        # The operators of our plugin run in the server: a card or RSAM_DATA that starts from here is found there too.
        working_dir = os.getcwd()

        @property
        def command(self) -> list[str]:
            python, main, *options = super().command
            return [python, os.path.join(foc.SERVER_DIR, main), *options]

        def _wait_for_child_port(self, port: int | None = None, timeout: int = PATIENCE) -> int:
            return int(super()._wait_for_child_port(port=port, timeout=max(timeout, PATIENCE)))

    os.environ.setdefault(SCHEDULING, "true")
    try:
        server = PatientServer(port, address=address, do_not_track=fo.config.do_not_track)
    except ServiceListenTimeout as error:
        raise UserError(
            f"FiftyOne's App server did not start within {PATIENCE} s on {address}:{port}.\n"
            "Run `rsam doctor`; where the machine is merely busy, try again."
        ) from error
    sessions._server_services[port] = server  # `session.close()` stops it


def check_port(address: str, port: int) -> int:
    """`port` if a server could listen there. Raises `UserError` otherwise, naming one that is free.

    FiftyOne itself would silently join any FiftyOne server on that port, also one with another database.
    """
    if not 0 < port < 65536:
        raise UserError(f"--port {port}: a port is a number from 1 to 65535.")
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just given up is free
        try:
            probe.bind((address, port))
        except OSError as error:
            raise UserError(
                f"--port {port}: cannot listen on {address}:{port} ({error.strerror}); is the App open already?\n"
                f"Close it, or give another port: --port {_any_port(address)}"
            ) from error
    return port


def free_port(address: str = LOOPBACK) -> int:
    """5151, the App's usual port, or a free one where that is taken. Raises `UserError` where `address` is not ours."""
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


def _reachable(address: str) -> str:
    return socket.gethostname() if address in ("0.0.0.0", "::") else address


def _has_screen() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
