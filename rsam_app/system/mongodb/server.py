"""The private database server, shared by all `rsam` commands that run at the same time.

Locks in its folder, in the order in which a command takes them: `start.lock` (one command at a time joins or starts the
server), `clients.lock` (shared, held until the command ends) and `supervisor.lock` (held by the supervisor, so that a
stale `server.json` is recognized).

FiftyOne's own database service does not do: it joins any running one of the same user, whatever its database folder,
over a port that unpickles what anybody sends, and reports every failed start as a timeout after a minute.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path
from typing import IO, Any

from rsam_app.system.errors import UserError
from rsam_app.system.files import locked, write_atomically
from rsam_app.system.json_files import parse_json, read_json
from rsam_app.system.mongodb import supervisor
from rsam_app.system.mongodb.binary import Mongod

REQUIRED_MB = 500
"""Free disk space that a start requires. An empty database takes 300 MB, most of it preallocated journal."""
OPTIONS = "/?journal=true&serverSelectionTimeoutMS=8000"
"""For every client, also those of FiftyOne: a write is on the disk before it counts, and a server that is gone is
reported in seconds."""
STOP_TIMEOUT = 15.0
"""Seconds that the last command waits for the server to close its files."""


def join(mongod: Mongod, folder: Path) -> str:
    """Join the server that runs on `folder`, or start one; return its address. It is in use until this process ends.

    Raises `UserError` if the folder cannot be written, the disk is full, another machine uses the folder, or mongod
    does not start, with its reason.
    """
    _require_writable(folder)
    started = None
    with locked(folder / "start.lock"):
        clients = (folder / "clients.lock").open("a")
        try:
            fcntl.flock(clients, fcntl.LOCK_SH)  # waits while a server is shutting down
            state = _running(folder)
            if state is None:
                started = _start(mongod, folder)
                state = _running(folder)
            if state is None:
                raise UserError(f"{folder}: the database server ended at once. See {folder / 'mongod.log'}.")
            if state["host"] != platform.node():
                raise UserError(
                    f"{folder}: the machine {state['host']} is using this database folder.\n"
                    "Wait until it is done, or set RSAM_DATABASE_DIR to a folder on a local disk."
                )
        except UserError:
            clients.close()
            raise
    atexit.register(_leave, os.getpid(), folder, int(state["pid"]), clients, started)
    if "socket" not in state:  # started by an earlier version, which listened on a port
        return f"mongodb://127.0.0.1:{state['port']}{OPTIONS}"
    return f"mongodb://{urllib.parse.quote(state['socket'], safe='')}{OPTIONS}"


def _leave(
    owner: int, folder: Path, supervisor_pid: int, clients: IO[str], started: subprocess.Popen[str] | None
) -> None:
    """Stop using the server; the last command waits until it has shut down. Does nothing in forked children."""
    if os.getpid() != owner:
        return
    try:
        fcntl.flock(clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_last = True
    except BlockingIOError:
        is_last = False
    clients.close()
    deadline = time.monotonic() + STOP_TIMEOUT
    while is_last and time.monotonic() < deadline:
        state = _running(folder)
        is_last = state is not None and state["pid"] == supervisor_pid
        time.sleep(0.02)
    if started is not None:
        started.poll()  # collects the exit status, so that no zombie is left


def _require_writable(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True, mode=0o700)
        (folder / "data").mkdir(exist_ok=True, mode=0o700)
        (folder / "start.lock").open("a").close()
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write the database there ({error.strerror}).\n"
            "Make the folder writable, or set RSAM_DATABASE_DIR to one that is."
        ) from error


def _running(folder: Path) -> dict[str, Any] | None:
    """Return the content of `server.json` if its supervisor runs; None if it is stale or absent."""
    try:
        state: dict[str, Any] = read_json(folder / "server.json")
        with locked(folder / "supervisor.lock", exclusive=False, wait=False):
            return None
    except BlockingIOError:
        return state
    except (FileNotFoundError, ValueError):
        return None


def _start(mongod: Mongod, folder: Path) -> subprocess.Popen[str]:
    """Start a supervisor and wait until its server answers. It has its own session, which Ctrl-C does not reach."""
    free = shutil.disk_usage(folder).free // 2**20
    if free < REQUIRED_MB:
        raise UserError(
            f"{folder}: {free} MB free on this disk, the database needs {REQUIRED_MB}.\n"
            "Free disk space, or set RSAM_DATABASE_DIR to a folder on another disk."
        )
    command = [sys.executable, "-I", "-S", supervisor.__file__, str(folder), str(mongod.path)]
    if mongod.libraries is not None:
        command.append(str(mongod.libraries))
    log = folder / "supervisor.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
    assert process.stdout is not None
    with process.stdout as output:
        answer = parse_json(output.readline() or "{}")
    if "socket" not in answer:
        process.wait()
        reason = answer.get("error") or log.read_text(encoding="utf-8").strip()[-300:]
        raise UserError(
            f"{folder}: MongoDB {mongod.version} does not start there: {reason}\n"
            f"See {folder / 'mongod.log'}, or set RSAM_DATABASE_DIR to another folder."
        )
    state = {"socket": answer["socket"], "pid": process.pid, "host": platform.node()}
    write_atomically(folder / "server.json", json.dumps(state))
    return process
