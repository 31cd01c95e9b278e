"""Connections between the processes of a launch: one JSON object a line over TCP."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any

from rsam_app.system.json_files import parse_json

KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES = 10, 5, 4
"""The system probes a silent peer's machine after 10 s, then every 5 s, and gives up after 4 probes: a machine without
power is detected within half a minute, while one that is only busy or paused answers."""

MAX_BYTES = 2**20
"""Limit of one message; a longer one is not from a process of the launch."""


class Connection:
    """A connection to another process, broken soon after that process or its machine has ended."""

    rank: int | None = None
    """The rank of the other process, None until it has introduced itself."""
    name: str = ""
    """The process id and the machine of the other process."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket, self._rest = connected, b""
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, KEEPALIVE_IDLE),
            (socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL),
            (socket.TCP_KEEPCNT, KEEPALIVE_PROBES),
            (socket.TCP_USER_TIMEOUT, 1000 * (KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES)),
        ):
            connected.setsockopt(socket.IPPROTO_TCP, option, value)
        _close_in_children(connected)

    def fileno(self) -> int:
        """Return the file descriptor, for a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, **message: Any) -> bool:
        """Send a message; return whether the connection accepted it."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> list[dict[str, Any]] | None:
        """Wait for data and return the messages completed by it; None if the connection is broken."""
        try:
            data = self._socket.recv(65536)
        except OSError:
            return None
        if not data or len(self._rest) > MAX_BYTES:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            messages = [parse_json(line) for line in lines]
        except ValueError:
            return None
        return messages if all(isinstance(message, dict) for message in messages) else None


def listen(on_one_machine: bool) -> socket.socket:
    """Open a server on a free port, which other machines can reach unless the launch is `on_one_machine`."""
    if socket.has_dualstack_ipv6() and not on_one_machine:
        server = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    else:
        server = socket.create_server(("127.0.0.1" if on_one_machine else "", 0))
    _close_in_children(server)
    return server


def connect(address: str, port: int, timeout: float) -> Connection:
    """Connect to a server that may start within `timeout` seconds. Raises `OSError`."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            connected = socket.create_connection((address, port), timeout=timeout)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    connected.settimeout(None)
    return Connection(connected)


def _close_in_children(opened: socket.socket) -> None:
    # A forked loading process would keep the connection open after this process has ended.
    os.register_at_fork(after_in_child=opened.close)
