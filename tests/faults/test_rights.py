"""An ordinary user without permission: each command works without it, or ends with one message and touches nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.small_run import changed, digests, refusal_in
from programs import Ended, command, programs

Give = Callable[..., Ended]


@pytest.fixture(scope="module")
def give(ordinary: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Give]:
    """Gives commands in one process, whose user has a home with a blank in its name and no right to write there."""
    home = tmp_path_factory.mktemp("home") / "Anna Müller"
    home.mkdir(mode=0o555)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "HF_", "FIFTYONE_"))}
    environment |= {"HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:9", "RSAM_DATABASE_DIR": str(home / "db")}
    with programs(home.with_name("stderr.txt"), environment, ordinary) as run:
        yield lambda *words: run(command(*words))
    assert not list(home.iterdir()), "the test had the right to write there"


def copy_of(small: dict[str, Path], folder: Path) -> Path:
    return Path(shutil.copytree(small["run"], folder / "one"))


def forbid(folder: Path, of_folders: int, of_files: int) -> None:
    for path in [*folder.rglob("*"), folder]:
        path.chmod(of_folders if path.is_dir() else of_files)


def test_a_home_that_cannot_be_written_costs_the_caches_only(
    give: Give, small: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "new"
    for words in (("train", small["pipeline"], "--run", run), ("evaluate", run)):
        done = give(*words)
        assert done.code == 0, done.stderr
    assert "the scan of the images could not be cached" in done.stderr
    done = give("review", run, "--no-app")
    assert done.code == 2 and "cannot write" in refusal_in(done.stderr)


READERS = (("predict", "{run}", "{photograph}", "--output", "{out}"), ("compare", "{run}", "{other}"))
WRITERS = (("evaluate", "{run}"), ("select", "{run}", "--no-tag"), ("train", "{pipeline}", "--run", "{run}"))


@pytest.mark.parametrize("foreign", [False, True], ids=["read-only", "of another user"])
def test_a_run_that_cannot_be_written_is_read_and_not_written(
    give: Give, small: dict[str, Path], tmp_path: Path, foreign: bool
) -> None:
    run, out, other = copy_of(small, tmp_path), tmp_path / "answers.csv", tmp_path / "other"
    shutil.copytree(small["run"], other)
    forbid(run, 0o755 if foreign else 0o555, 0o644 if foreign else 0o444)
    if foreign and os.geteuid() != 0:
        pytest.skip("only root makes files of another user")
    for path in [run, *run.rglob("*")] if foreign else ():
        os.chown(path, 65534, 65534)
    places = small | {"run": run, "out": out, "other": other}
    before = digests(run)
    for words in READERS:
        done = give(*(word.format(**places) for word in words))
        assert done.code == 0, done.stderr
    for words in WRITERS:
        done = give(*(word.format(**places) for word in words))
        assert done.code == 2 and str(run) in refusal_in(done.stderr), done.stderr
    assert changed(before, digests(run)) == set() and out.read_text().count("\n") == 2


def test_a_run_that_cannot_be_opened_is_named(give: Give, small: dict[str, Path], tmp_path: Path) -> None:
    run = copy_of(small, tmp_path)
    run.chmod(0)
    for words in (("predict", run, small["photograph"]), ("evaluate", run), ("train", small["pipeline"], "--run", run)):
        done = give(*words)
        said = done.stderr.rpartition("Error: ")[2] if "Error: " in done.stderr else refusal_in(done.stderr)
        assert done.code == 2 and str(run) in said and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("place", ["images", "images/train", "images/train/Grünfink", "card.yaml", "birds.yaml"])
def test_a_dataset_that_cannot_be_read_is_named(give: Give, small: dict[str, Path], tmp_path: Path, place: str) -> None:
    shutil.copytree(small["card"].parent / "images", tmp_path / "images")
    for name in ("card", "pipeline"):
        text = small[name].read_text().replace(str(small["card"].parent), str(tmp_path))
        (tmp_path / small[name].name).write_text(text)
    photograph = tmp_path / small["photograph"].relative_to(small["card"].parent)
    (tmp_path / place).chmod(0)
    done = give("train", tmp_path / "birds.yaml", "--run", tmp_path / "run")
    assert done.code == 2 and str(tmp_path / place) in refusal_in(done.stderr)
    if place == "images":
        done = give("predict", small["run"], photograph, "--output", tmp_path / "answers.csv")
        assert done.code == 2 and f"The folder {tmp_path / place} cannot be opened by you" in refusal_in(done.stderr)
    (tmp_path / place).chmod(0o755)


def test_an_output_that_cannot_be_written_is_named(give: Give, small: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    for words in (
        ("predict", small["run"], small["photograph"], "--output", out / "answers.csv"),
        ("predict", small["run"], small["photograph"], "--draw", out / "drawn"),
        ("train", small["pipeline"], "--run", out / "new"),
    ):
        done = give(*words)
        assert done.code == 2 and str(words[-1]) in refusal_in(done.stderr), done.stderr
    assert not list(out.iterdir())
