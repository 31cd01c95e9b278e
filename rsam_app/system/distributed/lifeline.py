"""Processes of a launch end together, with the first one's reason, said once.

Every process holds a connection to the main one. Whoever must end says why, and the main process prints it and tells
all; a connection that breaks without a word is a process that was killed. Collectives alone would not do: they wait for
a dead process on another machine until they time out, which must be hours where the others wait for the main process's
work, and what they then raise says nothing of the reason.
"""

from __future__ import annotations

import ctypes
import os
import platform
import secrets
import selectors
import signal
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any, NoReturn

from rsam_app.system.distributed import messages
from rsam_app.system.distributed.exit import end_now, lost, tell
from rsam_app.system.distributed.rank import Rank, current_rank
from rsam_app.system.errors import UserError

ARRIVAL = 45.0
"""Seconds that processes may begin one after the other. The launcher on every machine has just read the same libraries,
so that a slow disk does not make them differ by as much."""

PR_SET_PDEATHSIG = 1
"""Linux: the signal that comes when the parent is gone (prctl(2))."""

HEARING = 10.0
"""Seconds that a process waits for the main one to have said its reason."""

REFUSED = 5.0
"""Seconds after which a port where somebody should already listen is taken for closed."""

AFTER_MAIN = 1.0
"""Seconds that the main process is ahead: what fails everywhere is then told without naming a process."""

LOST = 1
"""Exit code of those who ended because another process was killed."""

_line: _MainEnd | _OtherEnd | None = None


def join_launch() -> None:
    """Connect this process with the others of its launch; nothing where it is alone. Call it before anything that can
    fail on one process only.

    From here on SIGTERM and SIGUSR1 end this process as Ctrl-C does, and SIGTERM comes when the launcher is killed.
    Where the main process cannot be reached, this one says so and ends. Raises `UserError` where the launcher began one
    process of several.
    """
    global _line
    launcher = os.getppid()
    for number in (signal.SIGTERM, signal.SIGUSR1):  # the second is what SLURM sends before a job's time is over
        signal.signal(number, signal.default_int_handler)
    place = current_rank()
    _require_ranks()
    if place is None or _line is not None:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != launcher:  # it ended before it could be watched
        raise KeyboardInterrupt
    _line = _MainEnd(place) if place.is_main else _OtherEnd(place)


def end_launch(message: str, code: int, patience: float) -> None:
    """End all processes of the launch with `code`, `message` printed by the main one; returns only where this process
    is alone.

    What failed here may have failed because another process is gone: for `patience` seconds that one's reason comes
    first.
    """
    if _line is None:
        return
    for number in (signal.SIGINT, signal.SIGTERM):  # the launcher sends them as soon as one process has ended
        signal.signal(number, signal.SIG_IGN)
    time.sleep(patience)  # whatever comes meanwhile ends this process
    _line.end(message, code)


def leave_launch() -> None:
    """Say that this process did its part; the main process goes at once, the others when it does."""
    if _line is not None:
        _line.leave()


class _MainEnd:
    """The main process's end of all lines."""

    def __init__(self, place: Rank) -> None:
        self.place = place
        self._missing = set(range(1, place.world))
        self._inboxes: dict[int, messages.Inbox] = {}
        self._left: set[int] = set()
        self._ending = threading.Lock()
        self._token = secrets.token_hex(16)
        self._server = messages.listen(place.machines == 1)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._store = _open_store(place)
        self._store.set(_key(place), f"{self._server.getsockname()[1]} {self._token} {platform.node()}")
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self, message: str, code: int) -> NoReturn:
        """Print why, tell all, and end; from the main thread."""
        self._ending.acquire()  # never released: the first reason is the one that is told
        deadline = time.monotonic() + HEARING
        while self._missing and time.monotonic() < deadline:  # they would not know whom to ask
            time.sleep(0.05)
        self._finish(message, code)

    def leave(self) -> None:
        """Let the others go, those too who are only just beginning."""
        while self._missing:
            time.sleep(0.05)
        with self._ending:
            for inbox in self._inboxes.values():
                messages.send(inbox.connection, left=True)

    def _finish(self, message: str, code: int) -> NoReturn:
        tell(message)
        for inbox in self._inboxes.values():
            messages.send(inbox.connection, end=code)
        end_now(code)

    def _watch(self) -> None:
        deadline = time.monotonic() + ARRIVAL
        while True:
            for key, _ in self._selector.select(timeout=1):
                if key.data is None:
                    self._accept()
                else:
                    self._hear(key)
            if self._missing and time.monotonic() > deadline and self._ending.acquire(blocking=False):
                names = ", ".join(map(str, sorted(self._missing)))
                what = f"process {names} of {self.place.world} did not begin within {ARRIVAL:.0f} s of the main one"
                self._finish(lost(what), LOST)

    def _accept(self) -> None:
        with suppress(OSError):  # gone again
            connection, _ = self._server.accept()
            inbox = messages.Inbox(messages.watched(connection))
            self._selector.register(connection, selectors.EVENT_READ, [inbox, None])

    def _hear(self, key: selectors.SelectorKey) -> None:
        inbox, who = key.data
        words = inbox.receive()
        for word in words or []:
            if who is None:
                who = key.data[1] = self._welcome(inbox, word)
            elif "end" in word and self._ending.acquire(blocking=False):
                self._finish(str(word["message"]), int(word["end"]))
            elif "left" in word:
                self._left.add(who[0])
        if words is None or (words and who is None):  # gone, or none of ours
            self._selector.unregister(inbox.connection)
            inbox.connection.close()
        is_lost = words is None and who is not None and who[0] not in self._left
        if is_lost and self._ending.acquire(blocking=False):
            what = f"process {who[0]} of {self.place.world} ({who[1]}) ended without a word"
            self._finish("" if self.place.launcher_tells else lost(what), LOST)

    def _welcome(self, inbox: messages.Inbox, word: dict[str, Any]) -> tuple[int, str] | None:
        if word.get("token") != self._token:
            return None
        rank = int(word["rank"])
        self._inboxes[rank] = inbox
        self._missing.discard(rank)
        return rank, str(word["who"])


class _OtherEnd:
    """Another process's end of its line."""

    def __init__(self, place: Rank) -> None:
        self.place, self._leaving, self._main_left = place, False, False
        try:
            # A launcher serves before its processes begin; else the main process does, once it is there.
            messages.connect(place.address, place.port, REFUSED if place.launcher_serves_store else ARRIVAL).close()
            self._store = _open_store(place)
            port, token, self._main_machine = self._store.get(_key(place)).decode().split(" ", 2)
            address = "127.0.0.1" if place.machines == 1 else place.address
            connection = messages.connect(address, int(port), REFUSED)
        except (OSError, RuntimeError) as error:
            if place.local_rank == 0 or place.rank == 1:
                tell(_unreachable(place, error))
            end_now(LOST)
        self._inbox = messages.Inbox(connection)
        messages.send(connection, token=token, rank=place.rank, who=f"process id {os.getpid()} on {platform.node()}")
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def end(self, message: str, code: int) -> NoReturn:
        """Have the main process print why and end all; end."""
        time.sleep(AFTER_MAIN)
        signed = f"{message}\n(process {self.place.rank} of {self.place.world}, on {platform.node()})"
        if messages.send(self._inbox.connection, end=code, message=signed):
            time.sleep(HEARING)  # its answer ends this process
        tell(signed)
        end_now(code)

    def leave(self) -> None:
        """Wait until the main process lets this one go."""
        self._leaving = True
        messages.send(self._inbox.connection, left=True)
        self._listener.join()

    def _listen(self) -> None:
        while (words := self._inbox.receive()) is not None:
            for word in words:
                if "end" in word:
                    end_now(int(word["end"]))
                if "left" in word:
                    if self._leaving:
                        return
                    self._main_left = True
        if self._main_left:
            return
        first_here = self.place.local_rank == 0 or self.place.rank == 1
        if first_here and not self.place.launcher_tells:
            tell(lost(f"the main process (on {self._main_machine}) ended without a word"))
        end_now(LOST)


def _open_store(place: Rank) -> Any:
    """The launch's store, through which the main process says where it listens; it must be kept, as it may serve."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    serves = place.is_main and not place.launcher_serves_store
    patience = timedelta(seconds=ARRIVAL)
    return TCPStore(place.address, place.port, None, serves, patience, wait_for_workers=False, multi_tenant=True)


def _require_ranks() -> None:
    told = os.environ
    if {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR", "MASTER_PORT"} <= told.keys() and "RANK" not in told:
        raise UserError(
            "Accelerate was asked for several processes and began one alone: its MULTI_CPU leaves them to mpirun.\n"
            "Say `distributed_type: MULTI_GPU` (or --multi_gpu), which starts them on CPUs too; or `--processes N`."
        )


def _unreachable(place: Rank, error: Exception) -> str:
    return (
        f"rsam: the main process cannot be reached through {place.address}:{place.port}"
        f" ({str(error).splitlines()[0]}).\n"
        "It ended at once, and said why where it runs; or a firewall lies between the machines."
    )


def _key(place: Rank) -> str:
    return f"rsam/lifeline/{place.attempt}"
