"""Checkpoints from somebody else: nothing in them is executed."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from pathlib import Path

import pytest
import torch
from command import rsam, stop_at_first_checkpoint


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def stopped_run(tiny_pipeline, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "stopped"
    assert stop_at_first_checkpoint(signal.SIGKILL, run, tiny_pipeline) == -signal.SIGKILL
    return run


def test_the_hostile_object_is_hostile(tmp_path):
    torch.save(Hostile(tmp_path / "executed"), tmp_path / "object.pt")
    torch.load(tmp_path / "object.pt", weights_only=False)
    assert (tmp_path / "executed").exists()


FILES = ["states.pt", "optimizer.bin", "random_states_0.pkl"]
FOREIGN = ["custom_checkpoint_0.pkl", "scheduler.bin", "scaler.pt", "sampler.bin", "pytorch_model.bin"]


def test_every_pickle_of_a_checkpoint_is_known(stopped_run):
    found = {path.name for path in (stopped_run / "checkpoints" / "last").iterdir()}
    assert found == {*FILES, "model.safetensors"}


@pytest.mark.parametrize("name", FILES + FOREIGN)
@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_foreign_pickle_is_refused_and_not_executed(stopped_run, tiny_pipeline, tmp_path, name, form):
    run, executed = tmp_path / "run", tmp_path / "executed"
    shutil.copytree(stopped_run, run)
    path = run / "checkpoints" / "last" / name
    content = {"step": Hostile(executed), "state": [Hostile(executed)]}
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    if name == "pytorch_model.bin":  # Accelerate reads it if there is no other
        path.with_name("model.safetensors").unlink()
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.suffix in (".bin", ".pt", ".pkl")}
    said = rsam("train", tiny_pipeline, "--run", run, "--resume", check=2).stderr
    assert not executed.exists()
    assert f"{path}: is damaged, or holds objects that could execute code; nothing of it was run." in said
    assert "rsam train --restart" in said and "Traceback" not in said and "weights_only" not in said
    assert before == {p: p.read_bytes() for p in before}


def test_a_checkpoint_of_an_older_version_says_what_to_do(stopped_run, tiny_pipeline, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(stopped_run, run)
    (run / "checkpoints" / "last" / "states.pt").rename(run / "checkpoints" / "last" / "custom_checkpoint_0.pkl")
    said = rsam("train", tiny_pipeline, "--run", run, "--resume", check=2).stderr
    assert "has no states.pt: it is incomplete, or of an older version of RSAM.\n" in said
    assert "Start over with `rsam train --restart`." in said


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(stopped_run, tiny_pipeline, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(stopped_run, run)
    path = run / "checkpoints" / "last" / name
    path.write_bytes(path.read_bytes()[:100])
    said = rsam("train", tiny_pipeline, "--run", run, "--resume", check=2).stderr
    assert f"{path}: is damaged" in said and "Traceback" not in said
