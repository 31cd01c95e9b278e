"""The common end of a launch: when one process fails or is killed, all end within seconds, and the reason is printed
once.

Every process has a connection to the main one. A process that fails sends its reason; the main process prints it and
ends all. A connection that breaks without a message belongs to a process that was killed. Collectives cannot replace
this: they wait for a dead process until their timeout, which must be hours because the others wait for the main
process's work, and their error does not name the reason. Neither can torchrun's agents: each watches only the processes
of its own machine, so that the main process works on for nothing when another machine fails.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import secrets
import selectors
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any, NoReturn

from rsam_app.system.distributed import messages
from rsam_app.system.distributed.rank import Rank, current_rank
from rsam_app.system.distributed.resume import resume_hint
from rsam_app.system.errors import UserError, reason_of
from rsam_app.system.parent import terminate_with
from rsam_app.system.stop_signals import stop_as_by_ctrl_c

START_TIMEOUT = 45.0
"""Seconds between the start of the first and the last process. Each machine's launcher has just read the same
libraries, so that slow disks do not add to this."""

CONNECT_TIMEOUT = 5.0
"""Seconds to connect to a port that should already be open."""

REASON_TIMEOUT = 10.0
"""Seconds that a failing process waits for the main one to print its reason."""

HEAD_START = 1.0
"""Seconds that other processes wait before they send a reason: if all fail alike, the main one reports it."""

KILLED_CODE = 1
"""Exit code of a process that ends because another one was killed."""

_link: _MainProcess | _OtherProcess | None = None


def join_launch() -> None:
    """Connect this process with the others of its launch; does nothing if it is alone. Call it before anything that
    can fail on one process only.

    From now on SIGTERM, SIGUSR1 and SIGHUP act like Ctrl-C, and the process gets SIGTERM when its launcher is killed.
    If the main process cannot be reached, it prints that and ends. Raises `UserError` if the launcher started only one
    of several processes.
    """
    global _link
    launcher = os.getppid()
    stop_as_by_ctrl_c()
    rank = current_rank()
    _require_launched()
    if rank is None or _link is not None:
        return
    terminate_with(launcher)
    _link = _MainProcess(rank) if rank.is_main else _OtherProcess(rank)


def end_launch(message: str, code: int, patience: float) -> None:
    """End all processes of the launch with exit code `code`; the main one prints `message`. Returns only if this
    process is alone.

    The failure here may be a consequence of another process's end, whose reason takes precedence if it arrives within
    `patience` seconds.
    """
    if _link is None:
        return
    for number in (signal.SIGINT, signal.SIGTERM):  # the launcher sends them once one process has ended
        signal.signal(number, signal.SIG_IGN)
    time.sleep(patience)  # a reason that arrives now ends this process
    _link.end(message, code)


def leave_launch() -> None:
    """Report that this process is done. The main process then continues; the others wait until it is done, too."""
    if _link is not None:
        _link.leave()


class _MainProcess:
    """The main process's connections to all others."""

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self._missing = set(range(1, rank.world))
        self._connections: dict[int, messages.Connection] = {}
        self._done: set[int] = set()
        self._end_lock = threading.Lock()
        self._token = secrets.token_hex(16)
        self._server = messages.listen(rank.machines == 1)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._store = _open_store(rank)
        self._store.set(_key(rank), f"{self._server.getsockname()[1]} {self._token} {platform.node()}")
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self, message: str, code: int) -> NoReturn:
        """Print the reason and end all processes; called from the main thread."""
        self._end_lock.acquire()  # never released: only the first reason is printed
        deadline = time.monotonic() + REASON_TIMEOUT
        while self._missing and time.monotonic() < deadline:  # those that start later could not learn of it
            time.sleep(0.05)
        self._end_all(message, code)

    def leave(self) -> None:
        """Let the others end, including those that are still starting."""
        while self._missing:
            time.sleep(0.05)
        with self._end_lock:
            for connection in self._connections.values():
                connection.send(done=True)

    def _end_all(self, message: str, code: int) -> NoReturn:
        _report(message)
        for connection in self._connections.values():
            connection.send(code=code)
        _exit_now(code)

    def _watch(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            for key, _ in self._selector.select(timeout=1):
                if key.data is None:
                    self._accept()
                else:
                    self._receive(key.data)
            if self._missing and time.monotonic() > deadline and self._end_lock.acquire(blocking=False):
                ranks = ", ".join(map(str, sorted(self._missing)))
                what = f"process {ranks} of {self.rank.world} did not start within {START_TIMEOUT:.0f} s"
                self._end_all(_killed(what), KILLED_CODE)

    def _accept(self) -> None:
        with suppress(OSError):  # closed again
            connection = messages.Connection(self._server.accept()[0])
            self._selector.register(connection, selectors.EVENT_READ, connection)

    def _receive(self, connection: messages.Connection) -> None:
        received = connection.receive()
        for message in received or []:
            if connection.rank is None:
                if message.get("token") != self._token:  # not a process of this launch
                    received = None
                    break
                connection.rank, connection.name = int(message["rank"]), str(message["name"])
                self._connections[connection.rank] = connection
                self._missing.discard(connection.rank)
            elif "code" in message and self._end_lock.acquire(blocking=False):
                self._end_all(str(message["reason"]), int(message["code"]))
            elif "done" in message:
                self._done.add(connection.rank)
        if received is None:
            self._selector.unregister(connection)
            connection.close()
            rank = connection.rank
            if rank is not None and rank not in self._done and self._end_lock.acquire(blocking=False):
                what = f"process {rank} of {self.rank.world} ({connection.name}) ended unexpectedly"
                self._end_all("" if self.rank.launcher_reports else _killed(what), KILLED_CODE)


class _OtherProcess:
    """Another process's connection to the main one."""

    def __init__(self, rank: Rank) -> None:
        self.rank, self._is_leaving, self._main_done = rank, False, False
        try:
            # A launcher serves the store before it starts processes, otherwise the main process does so when it starts.
            timeout = CONNECT_TIMEOUT if rank.launcher_serves_store else START_TIMEOUT
            messages.connect(rank.address, rank.port, timeout).close()
            self._store = _open_store(rank)
            port, token, self._main_machine = self._store.get(_key(rank)).decode().split(" ", 2)
            address = "127.0.0.1" if rank.machines == 1 else rank.address
            self._connection = messages.connect(address, int(port), CONNECT_TIMEOUT)
        except (OSError, RuntimeError) as error:
            if rank.is_first_here:
                _report(_unreachable(rank, error))
            _exit_now(KILLED_CODE)
        self._connection.send(token=token, rank=rank.rank, name=f"process id {os.getpid()} on {platform.node()}")
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def end(self, message: str, code: int) -> NoReturn:
        """Send the reason to the main process, which ends all; end."""
        time.sleep(HEAD_START)
        reason = f"{message}\n(process {self.rank.rank} of {self.rank.world}, on {platform.node()})"
        if self._connection.send(code=code, reason=reason):
            time.sleep(REASON_TIMEOUT)  # the main process's answer ends this one
        _report(reason)
        _exit_now(code)

    def leave(self) -> None:
        """Wait until the main process is done."""
        self._is_leaving = True
        self._connection.send(done=True)
        self._listener.join()

    def _listen(self) -> None:
        while (received := self._connection.receive()) is not None:
            for message in received:
                if "code" in message:
                    _exit_now(int(message["code"]))
                if "done" in message:
                    if self._is_leaving:
                        return
                    self._main_done = True
        if self._main_done:
            return
        if self.rank.is_first_here and not self.rank.launcher_reports:
            _report(_killed(f"the main process (on {self._main_machine}) ended unexpectedly"))
        _exit_now(KILLED_CODE)


def _open_store(rank: Rank) -> Any:
    """Return the launch's store, through which the main process publishes its port. Keep it: it may be the server."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    serves = rank.is_main and not rank.launcher_serves_store
    timeout = timedelta(seconds=START_TIMEOUT)
    return TCPStore(rank.address, rank.port, None, serves, timeout, wait_for_workers=False, multi_tenant=True)


def _key(rank: Rank) -> str:
    return f"rsam/lifeline/{rank.attempt}"


def _require_launched() -> None:
    variables = os.environ
    if {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR", "MASTER_PORT"} <= variables.keys() and "RANK" not in variables:
        raise UserError(
            "Accelerate should start several processes and started one: its MULTI_CPU leaves the others to mpirun.\n"
            "Use `distributed_type: MULTI_GPU` (or --multi_gpu), which also starts them on CPUs, or `--processes N`."
        )


def _unreachable(rank: Rank, error: Exception) -> str:
    return (
        f"rsam: the main process cannot be reached through {rank.address}:{rank.port}"
        f" ({reason_of(error)}).\n"
        "Either it ended at once, see its own output, or a firewall separates the machines."
    )


def _killed(what: str) -> str:
    return (
        f"rsam: {what}; it may have been killed for lack of memory, see its launcher's output."
        f" All others were ended.\n{resume_hint()}"
    )


def _report(message: str) -> None:
    """Print a message, unless it is empty, below the remains of a progress bar."""
    if message:
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # progress bars hide it
        with suppress(OSError, ValueError):  # standard error is closed
            sys.stderr.write(f"{show_cursor}{message}\n")
            sys.stderr.flush()


def _exit_now(code: int) -> NoReturn:
    """End this process from any thread: the main thread may wait in a collective that never returns."""
    for child in multiprocessing.active_children():
        child.kill()  # loading processes would keep this process's locks
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)
