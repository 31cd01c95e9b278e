"""Connections over which processes of a launch tell each other that they end, one JSON object a line."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any

IDLE, INTERVAL, PROBES = 10, 5, 4
"""The system asks a silent peer's machine after 10 s, then every 5 s, and gives it up after 4 questions: a machine that
lost its power is found out in half a minute, while one that is merely busy, or paused, is not."""

LONGEST = 2**20
"""Bytes of one object; whoever sends more is none of ours."""


def listen(on_one_machine: bool) -> socket.socket:
    """A server at a port that is free; it can be reached from other machines unless all are on one."""
    if on_one_machine:
        server = socket.create_server(("127.0.0.1", 0))
    elif socket.has_dualstack_ipv6():
        server = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    else:
        server = socket.create_server(("", 0))
    return _of_this_process_alone(server)


def connect(address: str, port: int, patience: float) -> socket.socket:
    """A connection to a server that may come up within `patience` seconds. Raises `OSError`."""
    deadline = time.monotonic() + patience
    while True:
        try:
            connection = socket.create_connection((address, port), timeout=patience)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    connection.settimeout(None)
    return watched(connection)


def watched(connection: socket.socket) -> socket.socket:
    """A connection that breaks soon after its other end's machine is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, IDLE),
        (socket.TCP_KEEPINTVL, INTERVAL),
        (socket.TCP_KEEPCNT, PROBES),
        (socket.TCP_USER_TIMEOUT, 1000 * (IDLE + INTERVAL * PROBES)),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    return _of_this_process_alone(connection)


def send(connection: socket.socket, **word: Any) -> bool:
    """Send one object; whether it went out."""
    try:
        connection.sendall(json.dumps(word).encode() + b"\n")
    except OSError:
        return False
    return True


class Inbox:
    """What came over a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self._rest = connection, b""

    def receive(self) -> list[dict[str, Any]] | None:
        """The objects that came since the last call, once something came; None where the connection is broken."""
        try:
            came = self.connection.recv(65536)
        except OSError:
            return None
        if not came or len(self._rest) > LONGEST:
            return None
        *lines, self._rest = (self._rest + came).split(b"\n")
        try:
            words = [json.loads(line) for line in lines]
        except ValueError:
            return None
        return words if all(isinstance(word, dict) for word in words) else None


def _of_this_process_alone(connection: socket.socket) -> socket.socket:
    # A loading process that was forked would keep the connection open when this process is gone.
    os.register_at_fork(after_in_child=connection.close)
    return connection
