"""A run that was renamed, moved, copied or linked, and files from the future: a command goes on, or says why not."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from types import ModuleType

from command import rsam
from faults.small_run import changed, digests, refusal_in


def reviewed(small: dict[str, Path], run: Path) -> Path:
    """Copy the run there, and write it into FiftyOne."""
    shutil.copytree(small["run"], run)
    rsam("review", run, "--no-app")
    return run


def use(run: Path, small: dict[str, Path], out: Path) -> str:
    """Give the commands that a run goes through; return what the review said."""
    out.mkdir()
    rsam("predict", run, small["photograph"], "--output", out / "answers.csv")
    said = rsam("review", run, "--no-app").stderr
    for words in (("select", run), ("apply", run), ("export", run, out / "subset", "--tag", "relabel")):
        rsam(*words)
    return said


def test_a_renamed_moved_and_linked_run_goes_on(
    small: dict[str, Path], fiftyone_module: ModuleType, tmp_path: Path
) -> None:
    renamed = reviewed(small, tmp_path / "first").rename(tmp_path / "second")
    assert "40 updated" in use(renamed, small, tmp_path / "a")
    moved = tmp_path / "elsewhere" / "second"
    shutil.copytree(renamed, moved)
    shutil.rmtree(renamed)
    rsam("evaluate", moved)
    assert "40 unchanged" in use(moved, small, tmp_path / "b")
    link = tmp_path / "link"
    link.symlink_to(moved)
    assert "40 unchanged" in use(link, small, tmp_path / "c")
    assert len(fiftyone_module.load_dataset("birds")) == 40
    before = digests(moved)
    copied = Path(shutil.copytree(moved, tmp_path / "copied" / "second"))
    said = refusal_in(rsam("review", copied, "--no-app", check=2).stderr)
    assert str(moved) in said and "--set review.key=NAME" in said
    assert changed(before, digests(moved)) == set()
    rsam("review", copied, "--no-app", "--set", "review.key=copied")


def test_a_link_to_nowhere_is_named(small: dict[str, Path], tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    for words in (("evaluate", link), ("train", small["pipeline"], "--run", link)):
        assert f"{link}" in (said := refusal_in(rsam(*words, check=2).stderr)) and "which does not exist" in said
    assert link.is_symlink() and not (tmp_path / "nowhere").exists()


def test_files_from_the_future_change_nothing(
    small: dict[str, Path], fiftyone_module: ModuleType, tmp_path: Path
) -> None:
    """The clock was set back, or the files come from a machine whose clock is ahead."""
    run, future = reviewed(small, tmp_path / "third"), time.time() + 1e8
    for path in [*run.rglob("*"), *(small["card"].parent / "images").rglob("*")]:
        os.utime(path, (future, future))
    rsam("evaluate", run)
    assert "40 unchanged" in use(run, small, tmp_path / "out")
    said = rsam("train", small["pipeline"], "--run", run, "--resume").stderr
    assert "training is already complete" in said
