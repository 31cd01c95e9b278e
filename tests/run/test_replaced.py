"""A finished run is kept until the one that replaces it is trained."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rsam_app.run.folder import RunFolder
from rsam_app.run.replaced import OUTPUTS, forget_finished, keep_finished, restore_finished


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run folder with every output of a training, and a file of the reviewer's."""
    for name in OUTPUTS:
        path = tmp_path / "run" / name
        file = path if path.suffix else path / "file.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"old {name}")
    (tmp_path / "run" / "selection").mkdir()
    (tmp_path / "run" / "selection" / "chosen.csv").write_text("mine")
    return RunFolder(tmp_path / "run")


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_kept_run_comes_back_whole(run):
    before = contents(run.path)
    keep_finished(run)
    for name in ("checkpoints", "predictions"):  # as a new training does
        shutil.rmtree(run.path / name)
    (run.path / "model" / "file.bin").write_text("half a model")
    (run.path / "training_probabilities.npy").write_text("new")
    assert restore_finished(run)
    assert contents(run.path) == before
    assert not restore_finished(run)


def test_the_first_kept_run_is_not_overwritten_by_an_unfinished_one(run):
    kept = keep_finished(run)
    (run.path / "config.yaml").write_text("of a training that never finished")
    keep_finished(run)
    assert (kept / "config.yaml").read_text() == "old config.yaml"
    forget_finished(run)
    assert not kept.exists() and (run.path / "selection" / "chosen.csv").exists()


def test_files_that_are_written_in_place_are_copied(run):
    kept = keep_finished(run)
    with (run.path / "training_probabilities.npy").open("r+") as stream:
        stream.write("NEW")
    assert (kept / "training_probabilities.npy").read_text() == "old training_probabilities.npy"


def test_a_file_system_without_links_is_copied_to(run, monkeypatch):
    def refuse(source: str, target: str) -> None:
        raise OSError(f"no links from {source} to {target}")

    before = contents(run.path)
    monkeypatch.setattr(os, "link", refuse)
    keep_finished(run)
    shutil.rmtree(run.path / "checkpoints")
    assert restore_finished(run) and contents(run.path) == before
