"""The common end of a launch: forked processes, each on one machine or on a machine of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
import torch  # noqa: F401 - once, before forking

from rsam_app.cli import app, main
from rsam_app.system.distributed import end_launch, join_launch, leave_launch, lifeline

SOON = 60
WORLD = 3

Part = Callable[[], None]


def waits() -> None:
    time.sleep(10 * SOON)


def killed() -> None:
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def fails() -> None:
    end_launch("rsam: the disk is full", 2, patience=0)


def leaves() -> None:
    leave_launch()
    sys.exit(0)


def works_on_then_leaves() -> None:
    time.sleep(1)
    leaves()


def process(rank: int, port: int, output: Path, machines: int, part: Part, joins: bool = True) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(WORLD), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        LOCAL_RANK=str(0 if machines > 1 else rank), LOCAL_WORLD_SIZE=str(WORLD // machines),
    )  # fmt: skip
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    sys.stderr = os.fdopen(2, "w")
    if joins:
        join_launch()
    part()


def launch(folder: Path, *parts: Part, machines: int = WORLD) -> tuple[list[int | None], str]:
    """Return the exit codes, None for processes that did not end, and everything that was printed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes: list[ForkProcess] = []
    for rank, part in enumerate(parts):
        args = (rank, port, folder / "output", machines, part, part is not never_starts)
        processes.append(context.Process(target=process, args=args))
        processes[-1].start()
    deadline = time.monotonic() + SOON
    for one in processes:
        one.join(max(0.1, deadline - time.monotonic()))
    codes = [one.exitcode for one in processes]
    for one in processes:
        one.kill()
    return codes, (folder / "output").read_text()


def never_starts() -> None:
    pass


@pytest.mark.parametrize("machines", [1, WORLD])
def test_a_killed_process_ends_all_and_is_named_once(tmp_path, machines):
    codes, printed = launch(tmp_path, waits, killed, waits, machines=machines)
    assert codes == [1, -signal.SIGKILL, 1]
    assert printed.count("rsam:") == 1 and "process 1 of 3" in printed and "--resume" in printed


def test_without_the_main_process_each_machine_reports_it(tmp_path):
    codes, printed = launch(tmp_path, killed, waits, waits)
    assert codes == [-signal.SIGKILL, 1, 1]
    assert printed.count("the main process") == 2 and "Traceback" not in printed


def test_the_reason_of_any_process_is_printed_once_by_the_main_one(tmp_path):
    codes, printed = launch(tmp_path, waits, waits, fails)
    assert codes == [2, 2, 2]
    assert printed.count("the disk is full") == 1 and "process 2 of 3" in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_command_that_is_stopped_ends_all_as_stopped(tmp_path, number):
    def stopped() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal; pytest's workers ignore it
        app.command("wait")(waits)
        threading.Timer(1, os.kill, (os.getpid(), number)).start()
        sys.argv = ["rsam", "wait"]
        main()

    codes, printed = launch(tmp_path, stopped, waits, waits)
    assert codes == [130, 130, 130]
    assert printed.count("stopped") == 1 and "killed" not in printed


def test_a_failure_of_all_processes_is_printed_once_and_names_none(tmp_path):
    codes, printed = launch(tmp_path, fails, fails, fails)
    assert codes == [2, 2, 2] and printed == "rsam: the disk is full\n"


def test_a_failure_caused_by_a_killed_process_is_not_the_reason(tmp_path):
    def notices() -> None:
        time.sleep(0.6)
        end_launch("RuntimeError: connection closed by peer", 1, patience=3)

    codes, printed = launch(tmp_path, notices, killed, notices)
    assert codes == [1, -signal.SIGKILL, 1]
    assert "connection closed" not in printed and printed.count("rsam:") == 1


def test_a_process_that_is_done_waits_for_the_main_one_and_nothing_is_printed(tmp_path):
    codes, printed = launch(tmp_path, works_on_then_leaves, leaves, leaves)
    assert (codes, printed) == ([0, 0, 0], "")


def test_a_process_that_is_done_ends_with_the_main_one_if_that_fails(tmp_path):
    codes, _ = launch(tmp_path, fails, leaves, leaves)
    assert codes == [2, 2, 2]


def test_a_process_that_never_starts_is_not_waited_for_forever(tmp_path, monkeypatch):
    monkeypatch.setattr(lifeline, "START_TIMEOUT", 1.0)
    codes, printed = launch(tmp_path, waits, never_starts, waits)
    assert codes == [1, 0, 1] and "process 1 of 3 did not start" in printed


def test_a_main_process_that_never_starts_is_not_waited_for_forever(tmp_path, monkeypatch):
    monkeypatch.setattr(lifeline, "START_TIMEOUT", 1.0)
    codes, printed = launch(tmp_path, never_starts, waits, waits)
    assert codes == [0, 1, 1] and "cannot be reached" in printed and "Traceback" not in printed


def test_connections_from_other_programs_change_nothing(tmp_path):
    def with_other_programs() -> None:
        port = lifeline._link._server.getsockname()[1]  # type: ignore[union-attr]
        words = [b'{"rank": 1, "token": "guess"}\n{"end": 2, "message": "ha"}\n', b"GET / HTTP/1.1\r\n\r\n", b"\xff\n"]
        for word in words:
            with socket.create_connection(("127.0.0.1", port)) as other:
                other.sendall(word)
                assert other.recv(10) == b""  # the main process closed it
        leaves()

    codes, printed = launch(tmp_path, with_other_programs, leaves, leaves)
    assert (codes, printed) == ([0, 0, 0], "")


def test_a_single_process_has_no_launch_to_join(capfd):
    join_launch()
    end_launch("never printed", 2, patience=0)
    leave_launch()
    assert capfd.readouterr() == ("", "")
