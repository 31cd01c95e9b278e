"""A program that runs one mongod for as long as any command uses it; started by `server.py`.

Commands hold a shared lock on `clients.lock`, which the kernel releases when they end, even if they are killed. The
supervisor waits for an exclusive lock on the same file, which it gets when no command is left, and then stops mongod. A
command that starts in the meantime waits for its shared lock until mongod has ended, and starts a new one. A mongod
that is killed, e.g. because memory is short, is started again where it listened: its clients connect to it again by
themselves.

This file imports only the standard library, so that the process starts fast and stays small.

Usage: supervisor.py FOLDER MONGOD [LIBRARIES]. The first line of output is JSON: `{"socket": …}` or `{"error": …}`.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

READY = '"id":23016,'
"""In mongod's log entry "Waiting for connections"."""
SOCKET = "mongod.sock"
"""Name of the socket; the clients' library takes a path that ends so for one."""
START_TIMEOUT = 600.0
"""Seconds that mongod may take to start: after a crash it replays its journal, which can take minutes."""
HANDOVER_TIMEOUT = 30.0
"""Seconds that the mongod of a killed supervisor has to leave the folder."""
MOST_RESTARTS = 20
"""Times that a killed mongod is started again: one that cannot live would be killed for ever."""
PR_SET_PDEATHSIG = 1
"""Linux: the signal that a process gets when its parent ends, prctl(2)."""


class KilledError(OSError):
    """Mongod was killed while it started, e.g. because memory is short; nothing is wrong with its files."""


class Running:
    """The mongod that runs now, and whether it is to end."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        self.server, self.ending = server, False

    def end(self) -> None:
        """Ask mongod to end; kill it after a minute."""
        self.ending = True
        stop(self.server)


def main() -> None:
    """Start mongod, report its socket, and stay until no command uses it."""
    folder = Path(sys.argv[1])
    with (folder / "supervisor.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        socket_file = place_of_socket(folder)
        try:
            running = Running(start(folder, socket_file, *sys.argv[2:]))
        except OSError as error:
            remove_socket(folder, socket_file)
            answer({"error": str(error)})
            return
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=running.end).start())
        threading.Thread(target=end_when_unused, args=(folder, running), daemon=True).start()
        answer({"socket": str(socket_file)})
        keep_running(folder, socket_file, running)
        remove_socket(folder, socket_file)
        (folder / "server.json").unlink(missing_ok=True)


def keep_running(folder: Path, socket_file: Path, running: Running) -> None:
    """Wait until mongod ends because it is to end, and start it again whenever it ends otherwise."""
    for _ in range(MOST_RESTARTS):
        running.server.wait()
        if running.ending:
            return
        socket_file.unlink(missing_ok=True)
        try:
            running.server = start(folder, socket_file, *sys.argv[2:])
        except KilledError:
            continue
        except OSError as error:
            print(f"mongod was killed and does not start again: {error}", file=sys.stderr, flush=True)
            return
        if running.ending:
            stop(running.server)
    running.end()


def start(folder: Path, socket_file: Path, mongod: str, libraries: str = "") -> subprocess.Popen[bytes]:
    """Start mongod on a socket that only this user can open; return it once it accepts connections.

    Raises `KilledError` if it is killed before, `OSError` with mongod's reason if it does not start.
    """
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries} if libraries else None
    log, output = folder / "mongod.log", folder / "mongod.out"
    command = [mongod, "--dbpath", str(folder / "data"), "--logpath", str(log), "--bind_ip", str(socket_file)]
    command += ["--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false"]
    deadline = time.monotonic() + HANDOVER_TIMEOUT
    while True:
        if log.exists():
            log.replace(folder / "mongod.previous.log")
        with output.open("wb") as stream:
            server = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                preexec_fn=end_with_parent(),
            )
        if wait_until_ready(server, log):
            return server
        if server.returncode == -signal.SIGKILL:
            raise KilledError("mongod was killed while it started, e.g. because memory is short")
        reason = failure(server, log, output)
        if "DBPathInUse" not in reason or time.monotonic() > deadline:
            raise OSError(reason)
        time.sleep(0.5)


def place_of_socket(folder: Path) -> Path:
    """Return where mongod may listen: in `folder`, which every command on it sees; if its path is too long for a
    socket, or its disk has none, in a new temporary folder of this user."""
    path = folder / SOCKET
    try:
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as trial:
            trial.bind(str(path))
        path.unlink()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="rsam-", dir="/tmp")) / SOCKET
    return path


def remove_socket(folder: Path, socket_file: Path) -> None:
    """Remove the socket of an ended mongod, and the temporary folder that it is in."""
    socket_file.unlink(missing_ok=True)
    if socket_file.parent != folder:
        socket_file.parent.rmdir()


def wait_until_ready(server: subprocess.Popen[bytes], log: Path) -> bool:
    """Wait until mongod accepts connections; return false if it ended, or was stopped as too slow."""
    deadline = time.monotonic() + START_TIMEOUT
    while server.poll() is None:
        if log.exists() and READY in log.read_text(encoding="utf-8", errors="replace"):
            return True
        if time.monotonic() > deadline:
            stop(server)
        time.sleep(0.05)
    return False


def end_when_unused(folder: Path, running: Running) -> None:
    """Wait until no command uses mongod, then end it. The lock on the clients is held until this process ends."""
    clients = (folder / "clients.lock").open("a")
    fcntl.flock(clients, fcntl.LOCK_EX)
    running.end()


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ask mongod to end; kill it after a minute."""
    server.terminate()
    try:
        server.wait(60)
    except subprocess.TimeoutExpired:
        server.kill()


def failure(server: subprocess.Popen[bytes], log: Path, output: Path) -> str:
    """Return why mongod did not start: the first error in its log, from which later ones follow, or its output."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a full disk cut the line short
        if entry.get("s") in ("E", "F"):
            return describe(entry)
    printed = " ".join(output.read_text(encoding="utf-8", errors="replace").split())[-300:]
    return printed or f"mongod ended with status {server.returncode} and gave no reason"


def describe(entry: dict[str, Any]) -> str:
    """Return an entry of mongod's log as a sentence: its message and the error in it."""
    attributes = entry.get("attr", {})
    detail = attributes.get("message", attributes.get("error", ""))
    if isinstance(detail, dict):
        detail = detail.get("errmsg") or detail.get("msg") or detail
    return f"{entry.get('msg', '')}: {detail}" if detail else str(entry.get("msg", ""))


def end_with_parent() -> Callable[[], object] | None:
    """Return what the child calls before it becomes mongod: if this process is killed, the kernel ends mongod."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork, after which little is safe
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def answer(message: dict[str, Any]) -> None:
    """Print the answer for the command that started this process, and close the pipe to it."""
    print(json.dumps(message), flush=True)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    main()
