"""Agreement of forked processes, each on a machine of its own, over real collectives."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from rsam_app.system.cache.rows import cache_home
from rsam_app.system.distributed import agreement
from rsam_app.system.errors import UserError

Part = Callable[[Accelerator, int], object]


def on_two_machines(part: Part) -> list[object]:
    """Return the results of `part`, or the texts of its `UserError`s, by rank."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(2)]

    def process(rank: int) -> None:
        os.environ.update(
            RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1",
        )  # fmt: skip
        AcceleratorState._reset_state(True)  # left by an earlier test in the parent process
        torch.set_num_threads(1)
        try:
            pipes[rank][1].send(part(Accelerator(cpu=True), rank))
        except UserError as error:
            pipes[rank][1].send(str(error))

    processes = [context.Process(target=process, args=(rank,)) for rank in range(2)]
    for one in processes:
        one.start()
    try:
        assert all(pipe[0].poll(60) for pipe in pipes)
        return [pipe[0].recv() for pipe in pipes]
    finally:
        for one in processes:
            one.kill()
            one.join()


def test_the_main_process_decides():
    assert on_two_machines(lambda accelerator, rank: agreement.of_main(accelerator, ("x", rank))) == [("x", 0)] * 2


def test_parameters_become_those_of_the_main_process():
    def part(accelerator: Accelerator, rank: int) -> list[float]:
        layer = torch.nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)
        torch.nn.init.constant_(layer.weight, rank + 1)
        torch.nn.init.constant_(layer.bias, rank + 1)
        agreement.parameters_of_main(accelerator, layer)
        return [float(p.sum()) for p in layer.parameters()]

    assert on_two_machines(part) == [[36.0, 2.0]] * 2


def test_a_shared_run_folder_is_left_as_it_was(tmp_path):
    on_two_machines(lambda accelerator, rank: agreement.check_run_folder(accelerator, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("exists", [True, False])
def test_a_run_folder_that_is_not_shared_is_named_everywhere(tmp_path, monkeypatch, exists):
    monkeypatch.setattr(agreement, "SHARED_DISK_TIMEOUT", 0.5)
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders[: 2 if exists else 1]:
        folder.mkdir()
    results = on_two_machines(lambda accelerator, rank: agreement.check_run_folder(accelerator, folders[rank]))
    assert all("(process 1) cannot see what the main process writes" in str(one) for one in results)
    assert not list(folders[0].iterdir())


def test_different_data_on_one_machine_are_reported_on_all():
    results = on_two_machines(lambda accelerator, rank: agreement.check_data(accelerator, "birds", f"print {rank}"))
    assert all(str(one).startswith("birds: ") and "(process 1)" in str(one) for one in results)


def test_each_machine_of_a_launch_has_its_own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert on_two_machines(lambda accelerator, rank: cache_home().name)[0] == f"rows-{os.uname().nodename}"
    assert cache_home().name == "rows"


def test_a_single_process_has_its_own_value():
    assert agreement.of_main(Accelerator(cpu=True), Path("x")) == Path("x")
