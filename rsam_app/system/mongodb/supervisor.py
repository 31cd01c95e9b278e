"""Run by `server.py` as a program of its own: keeps one mongod running for as long as any command uses it.

Commands hold a shared lock on `clients.lock`; the kernel drops it when a command ends, however it ends. The supervisor
waits for an exclusive lock on the same file, which it gets when no command is left, and then stops the server. A
command that comes at that moment waits for its shared lock until the server is gone, and starts another.

It imports the standard library alone, so that it starts at once and stays small.

Usage: supervisor.py FOLDER MONGOD [LIBRARIES]. Its first line of output is JSON: `{"port": …}` or `{"error": …}`.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PORT_TAKEN = 48  # mongod's exit codes
READY = '"id":23016,'  # "Waiting for connections", in mongod's log
PATIENCE = 600.0  # seconds: recovery after a crash replays the journal, which can take minutes
HANDOVER = 30.0  # seconds that a server, orphaned by a killed supervisor, is given to leave the folder


def main() -> None:
    """Start the server, say so, and stay until nobody uses it."""
    folder = Path(sys.argv[1])
    with (folder / "supervisor.lock").open("a") as own:
        fcntl.flock(own, fcntl.LOCK_EX)
        try:
            server, port = start(folder, sys.argv[2], *sys.argv[3:])
            write_state(folder / "server.json", port)
        except OSError as error:
            say({"error": str(error)})
            return
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        threading.Thread(target=stop_when_unused, args=(folder, server), daemon=True).start()
        say({"port": port})
        server.wait()
        (folder / "server.json").unlink(missing_ok=True)


def start(folder: Path, mongod: str, libraries: str = "") -> tuple[subprocess.Popen[bytes], int]:
    """A server that answers, and its port. Raises `OSError` with mongod's own reason where it does not start."""
    environment = dict(os.environ)
    if libraries:
        environment["LD_LIBRARY_PATH"] = libraries
    log = folder / "mongod.log"
    give_up = time.monotonic() + HANDOVER
    while True:
        port = free_port()
        if log.exists():
            log.replace(folder / "mongod.previous.log")
        command = [mongod, "--dbpath", str(folder / "data"), "--logpath", str(log), "--bind_ip", "127.0.0.1"]
        command += ["--port", str(port), "--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false"]
        with (folder / "mongod.out").open("wb") as output:
            server = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(),
            )
        if wait_until_ready(server, log):
            return server, port
        reason = failure(server, log, folder / "mongod.out")
        passing = server.returncode == PORT_TAKEN or "DBPathInUse" in reason
        if not passing or time.monotonic() > give_up:
            raise OSError(reason)
        time.sleep(0.5)


def wait_until_ready(server: subprocess.Popen[bytes], log: Path) -> bool:
    """Whether the server accepts connections; False when it ended, or was too slow and has been stopped."""
    give_up = time.monotonic() + PATIENCE
    while server.poll() is None:
        if log.exists() and READY in log.read_text(encoding="utf-8", errors="replace"):
            return True
        if time.monotonic() > give_up:
            stop(server)
        time.sleep(0.05)
    return False


def stop_when_unused(folder: Path, server: subprocess.Popen[bytes]) -> None:
    """Wait until no command holds the clients' lock, then stop the server. The lock is kept until this process ends."""
    clients = (folder / "clients.lock").open("a")
    fcntl.flock(clients, fcntl.LOCK_EX)
    stop(server)


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to end; make it end if it has not after a minute."""
    server.terminate()
    try:
        server.wait(60)
    except subprocess.TimeoutExpired:
        server.kill()


def failure(server: subprocess.Popen[bytes], log: Path, output: Path) -> str:
    """Why the server did not start, in its own words: its first error, the later ones follow from it."""
    reason = ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a line that a full disk cut short
        if entry.get("s") in ("E", "F"):
            reason = describe(entry)
            break
    if not reason and output.exists():
        reason = " ".join(output.read_text(encoding="utf-8", errors="replace").split())[-300:]
    return reason or f"mongod ended with status {server.returncode} and gave no reason"


def describe(entry: dict[str, Any]) -> str:
    """One entry of mongod's log as a sentence: its message and the error it carries."""
    attributes = entry.get("attr", {})
    detail = attributes.get("message", attributes.get("error", ""))
    if isinstance(detail, dict):
        detail = detail.get("errmsg") or detail.get("msg") or detail
    return f"{entry.get('msg', '')}: {detail}" if detail else str(entry.get("msg", ""))


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> Callable[[], object] | None:
    """For a child just before it becomes mongod: have the kernel end it cleanly if this process is killed."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: after it, little is safe
    set_parent_death_signal = 1
    return lambda: prctl(set_parent_death_signal, signal.SIGTERM, 0, 0, 0)


def write_state(path: Path, port: int) -> None:
    """Tell commands that come later where the server is; they see all of it or nothing."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps({"port": port, "pid": os.getpid(), "host": platform.node()}), encoding="utf-8")
    partial.replace(path)


def say(message: dict[str, Any]) -> None:
    """Answer the command that started this process, and let go of its output."""
    print(json.dumps(message), flush=True)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.close(nowhere)


if __name__ == "__main__":
    main()
