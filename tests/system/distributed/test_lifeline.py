"""Processes that end together: forked ones, each believing to be alone on its machine of a launch."""

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


def wait_for_the_end() -> None:
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
    """Exit codes, None for who had to be killed, and everything that was printed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes: list[ForkProcess] = []
    for rank, part in enumerate(parts):
        args = (rank, port, folder / "output", machines, part, part is not never_begins)
        processes.append(context.Process(target=process, args=args))
        processes[-1].start()
    deadline = time.monotonic() + SOON
    for one in processes:
        one.join(max(0.1, deadline - time.monotonic()))
    codes = [one.exitcode for one in processes]
    for one in processes:
        one.kill()
    return codes, (folder / "output").read_text()


def never_begins() -> None:
    pass


@pytest.mark.parametrize("machines", [1, WORLD])
def test_a_killed_process_ends_all_and_is_named_once(tmp_path, machines):
    codes, said = launch(tmp_path, wait_for_the_end, killed, wait_for_the_end, machines=machines)
    assert codes == [1, -signal.SIGKILL, 1]
    assert said.count("rsam:") == 1 and "process 1 of 3" in said and "--resume" in said


def test_without_the_main_process_each_machine_says_so(tmp_path):
    codes, said = launch(tmp_path, killed, wait_for_the_end, wait_for_the_end)
    assert codes == [-signal.SIGKILL, 1, 1]
    assert said.count("the main process") == 2 and "Traceback" not in said


def test_the_reason_of_any_process_is_told_once_by_the_main_one(tmp_path):
    codes, said = launch(tmp_path, wait_for_the_end, wait_for_the_end, fails)
    assert codes == [2, 2, 2]
    assert said.count("the disk is full") == 1 and "process 2 of 3" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_command_that_is_stopped_ends_all_as_stopped(tmp_path, number):
    def stopped() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal; pytest's workers ignore it
        app.command("wait")(wait_for_the_end)
        threading.Timer(1, os.kill, (os.getpid(), number)).start()
        sys.argv = ["rsam", "wait"]
        main()

    codes, said = launch(tmp_path, stopped, wait_for_the_end, wait_for_the_end)
    assert codes == [130, 130, 130]
    assert said.count("stopped") == 1 and "killed" not in said


def test_what_fails_everywhere_is_told_once_and_names_no_process(tmp_path):
    codes, said = launch(tmp_path, fails, fails, fails)
    assert codes == [2, 2, 2] and said == "rsam: the disk is full\n"


def test_a_failure_because_of_a_killed_process_is_not_taken_for_the_reason(tmp_path):
    def notices() -> None:
        time.sleep(0.6)
        end_launch("RuntimeError: connection closed by peer", 1, patience=3)

    codes, said = launch(tmp_path, notices, killed, notices)
    assert codes == [1, -signal.SIGKILL, 1]
    assert "connection closed" not in said and said.count("rsam:") == 1


def test_who_is_done_waits_for_the_main_process_and_nobody_complains(tmp_path):
    codes, said = launch(tmp_path, works_on_then_leaves, leaves, leaves)
    assert (codes, said) == ([0, 0, 0], "")


def test_who_is_done_ends_with_the_main_process_when_that_fails(tmp_path):
    codes, _ = launch(tmp_path, fails, leaves, leaves)
    assert codes == [2, 2, 2]


def test_a_process_that_never_begins_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(lifeline, "ARRIVAL", 1.0)
    codes, said = launch(tmp_path, wait_for_the_end, never_begins, wait_for_the_end)
    assert codes == [1, 0, 1] and "process 1 of 3 did not begin" in said


def test_a_main_process_that_never_begins_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(lifeline, "ARRIVAL", 1.0)
    codes, said = launch(tmp_path, never_begins, wait_for_the_end, wait_for_the_end)
    assert codes == [0, 1, 1] and "cannot be reached" in said and "Traceback" not in said


def test_strangers_at_the_port_change_nothing(tmp_path):
    def with_strangers() -> None:
        port = lifeline._line._server.getsockname()[1]  # type: ignore[union-attr]
        words = [b'{"rank": 1, "token": "guess"}\n{"end": 2, "message": "ha"}\n', b"GET / HTTP/1.1\r\n\r\n", b"\xff\n"]
        for word in words:
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(word)
                assert stranger.recv(10) == b""  # it was shown out
        leaves()

    codes, said = launch(tmp_path, with_strangers, leaves, leaves)
    assert (codes, said) == ([0, 0, 0], "")


def test_alone_there_is_nothing_to_join():
    join_launch()
    end_launch("never said", 2, patience=0)
    leave_launch()
