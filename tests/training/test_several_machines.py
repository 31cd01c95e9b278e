"""Training on two processes, on one machine and on two (two launches on loopback), stopped, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from command import rsam
from safetensors.torch import load_file

SOON = 60
SETTINGS = [
    word
    for value in ("epochs=12", "discover_objects=false", "freeze_batch_norm=true", "workers=1")
    for word in ("--set", f"train.{value}")
]

Launches = list[subprocess.Popen[str]]


def one_machine(pipeline: Path, run: Path, *more: str) -> Launches:
    command = [sys.executable, "-m", "rsam_app", "train", str(pipeline), "--run", str(run), *SETTINGS, *more]
    return [started([*command, "--processes", "2"])]


def two_machines(pipeline: Path, run: Path) -> Launches:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU", "mixed_precision": "no",
        "num_machines": 2, "num_processes": 2, "machine_rank": 0,
        "main_process_ip": "127.0.0.1", "main_process_port": port,
    }  # fmt: skip
    file = run.parent / "accelerate.yaml"
    file.write_text(yaml.safe_dump(settings))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(file), "--machine_rank"]
    train = ["-m", "rsam_app", "train", str(pipeline), "--run", str(run), *SETTINGS]
    return [started([*launch, str(rank), *train]) for rank in range(2)]


def started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(launches: Launches, within: float) -> tuple[list[int], list[str]]:
    """Return codes and what was printed; fails where one does not end in time."""
    try:
        said = [launch.communicate(timeout=within)[1] for launch in launches]
    finally:
        for launch in launches:
            launch.kill()
    return [launch.returncode for launch in launches], said


def in_the_middle(run: Path, epochs: int, launches: Launches, act: Callable[[], None]) -> None:
    """Do something once the log has so many epochs."""
    log = run / "metrics.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= epochs):
        assert all(launch.poll() is None for launch in launches)
        time.sleep(0.01)
    act()


def process_of(run: Path, rank: int) -> int:
    """The process id of a rank that trains into `run`."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, told = ((process / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:  # gone, or somebody else's
            continue
        if str(run).encode() in command and f"RANK={rank}".encode() in told:
            return int(process.name)
    raise AssertionError(f"no process {rank} trains into {run}")


def weights(run: Path) -> np.ndarray:
    return np.concatenate([w.numpy().ravel() for w in load_file(run / "model" / "model.safetensors").values()])


@pytest.fixture(scope="module")
def whole_run(tiny_pipeline, tmp_path_factory) -> Path:
    """A run of two processes that nobody disturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert ended(one_machine(tiny_pipeline, run), 10 * SOON)[0] == [0]
    return run


def test_two_processes_train_as_one(tiny_pipeline, whole_run, tmp_path):
    """Same samples, same mean gradient: equal up to the order of summation, which a few Adam steps amplify a little.
    Batch-norm statistics are frozen, because each process would take them from its half of the batch."""
    alone = tmp_path / "alone"
    rsam("train", tiny_pipeline, "--run", alone, *SETTINGS)
    logs = [[json.loads(x) for x in (r / "metrics.jsonl").read_text().splitlines()] for r in (whole_run, alone)]
    for two, one in zip(*logs, strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
    expected, found = weights(alone), weights(whole_run)
    assert np.linalg.norm(expected - found) < 1e-3 * np.linalg.norm(expected)


def test_stopped_on_two_machines_killed_on_one_and_resumed_the_weights_are_the_same(tiny_pipeline, whole_run, tmp_path):
    run = tmp_path / "run"
    launches = two_machines(tiny_pipeline, run)
    in_the_middle(run, 2, launches, lambda: launches[1].send_signal(signal.SIGTERM))
    codes, said = ended(launches, SOON)
    assert 0 not in codes and "".join(said).count("stopped, with a checkpoint") == 1

    launches = one_machine(tiny_pipeline, run, "--resume")
    in_the_middle(run, 5, launches, lambda: os.kill(process_of(run, 1), signal.SIGKILL))
    codes, said = ended(launches, SOON)
    # The killed process's own loading processes may say that it is gone; nobody else may.
    others = "\n".join(line for line in said[0].splitlines() if not line.startswith("[rank1]:"))
    assert codes == [1] and "Traceback" not in others
    assert said[0].count("process 1 was killed by SIGKILL") == 1 and "--resume" in said[0]

    assert ended(one_machine(tiny_pipeline, run, "--resume"), 10 * SOON)[0] == [0]
    assert np.array_equal(weights(whole_run), weights(run))
    assert not list((run / "checkpoints").glob("*.partial"))
