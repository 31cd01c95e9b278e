"""One private database server for all `rsam` commands that run at the same time: join the running one, or start it.

The folder's locks, in the order in which a command takes them:
`start.lock` (one command at a time joins or starts), `clients.lock` (shared, held until the command ends), and
`supervisor.lock` (held by the supervisor, so that a stale `server.json` is known for what it is).
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
from pathlib import Path
from typing import IO, Any

from rsam_app.system.errors import UserError
from rsam_app.system.mongodb import supervisor
from rsam_app.system.mongodb.binary import Mongod

ROOM = 500  # MB: an empty database takes 300, most of it a journal that is laid out in advance
FAREWELL = 15.0  # seconds that the last command waits for the server to close its files


class Membership:
    """This process's use of the shared server: its port, until `leave`, which also happens when the process ends."""

    def __init__(
        self, folder: Path, state: dict[str, Any], clients: IO[str], started: subprocess.Popen[str] | None
    ) -> None:
        self.folder = folder
        self.port = int(state["port"])
        self._supervisor = state["pid"]
        self._clients = clients
        self._started = started  # the supervisor, if this process started it
        self._owner = os.getpid()
        atexit.register(self.leave)

    def leave(self) -> None:
        """Stop using the server; the last one to leave waits until it has shut down. Forked children never leave."""
        if self._clients.closed or os.getpid() != self._owner:
            return
        try:
            fcntl.flock(self._clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False  # others go on using it
        self._clients.close()
        give_up = time.monotonic() + FAREWELL
        while alone and time.monotonic() < give_up:
            state = _running(self.folder)
            alone = state is not None and state["pid"] == self._supervisor
            time.sleep(0.02)
        if self._started is not None:
            self._started.poll()  # so that no finished child is left unaccounted for


def join(mongod: Mongod, folder: Path) -> Membership:
    """Join the server that runs on `folder`, or start one there.

    Raises `UserError` where the folder cannot be written, the disk is full, another machine uses the folder, or
    mongod does not start: with its own reason.
    """
    _prepare(folder)
    with _lock(folder / "start.lock", fcntl.LOCK_EX):
        clients = _lock(folder / "clients.lock", fcntl.LOCK_SH)  # waits while a server is shutting down
        try:
            state = _running(folder)
            if state is None:
                started = _start(mongod, folder)
                state = _running(folder)
            else:
                started = None
            if state is None:
                raise UserError(f"{folder}: the database server ended at once; {folder / 'mongod.log'} says why.")
            _refuse_other_machine(folder, state)
        except UserError:
            clients.close()
            raise
    return Membership(folder, state, clients, started)


def _prepare(folder: Path) -> None:
    try:
        (folder / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
        with _lock(folder / "start.lock", fcntl.LOCK_EX):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: the database cannot be kept there ({error.strerror}).\n"
            "Make the folder writable, or set RSAM_DATABASE_DIR to one that is."
        ) from error


def _lock(path: Path, kind: int) -> IO[str]:
    stream = path.open("a")
    fcntl.flock(stream, kind)
    return stream


def _running(folder: Path) -> dict[str, Any] | None:
    """What `server.json` says, if a supervisor stands behind it; None where it is stale or absent."""
    try:
        state: dict[str, Any] = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        with (folder / "supervisor.lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return state
    except (FileNotFoundError, ValueError):
        return None
    return None


def _refuse_other_machine(folder: Path, state: dict[str, Any]) -> None:
    if state["host"] != platform.node():
        raise UserError(
            f"{folder}: the machine {state['host']} is using this database folder now.\n"
            "Wait until it is done, or set RSAM_DATABASE_DIR to a folder on this machine's own disk."
        )


def _start(mongod: Mongod, folder: Path) -> subprocess.Popen[str]:
    """A new supervisor, its server answering. It has a session of its own: Ctrl-C is for the command, not for it."""
    free = shutil.disk_usage(folder).free // 2**20
    if free < ROOM:
        raise UserError(
            f"{folder}: {free} MB free on this disk, the database needs {ROOM}.\n"
            "Free some, or set RSAM_DATABASE_DIR to a folder with room."
        )
    command = [sys.executable, "-I", "-S", supervisor.__file__, str(folder), str(mongod.path)]
    if mongod.libraries is not None:
        command.append(str(mongod.libraries))
    with (folder / "supervisor.log").open("w") as complaints:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
            text=True,
        )
    assert process.stdout is not None
    with process.stdout as answers:
        answer = json.loads(answers.readline() or "{}")
    if "port" not in answer:
        process.wait()
        reason = answer.get("error") or (folder / "supervisor.log").read_text(encoding="utf-8").strip()[-300:]
        raise UserError(
            f"{folder}: MongoDB {mongod.version} does not start there: {reason}\n"
            f"{folder / 'mongod.log'} has the whole story; with RSAM_DATABASE_DIR another folder can be used."
        )
    return process
