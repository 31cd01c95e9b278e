"""A disk that is full, in every stage that writes: one message that names the file, exit code 2, old files whole."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from command import rsam
from faults.small_run import changed, digests, refusal_in

from rsam_app.workflow.preflight import cost

DISK = 48 * 2**20


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small file system in memory."""
    disk = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def disk(mounted: Path) -> Path:
    """The same, empty."""
    for path in mounted.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return mounted


def fill(disk: Path, kibibytes: int) -> None:
    """Leave so much room."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    ballast.touch()  # takes its own inode before the room is measured
    status = os.statvfs(disk)
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, status.f_bavail * status.f_frsize - kibibytes * 1024)


STAGES: Sequence[tuple[tuple[str, ...], int, str]] = [
    (("train", "{pipeline}", "--run", "{disk}/new"), 0, "new/lock"),
    (("train", "{pipeline}", "--run", "{disk}/new"), 8, "new/config.yaml"),
    (("train", "{pipeline}", "--run", "{disk}/new"), 12, "new/run.json"),
    (("train", "{pipeline}", "--run", "{disk}/new"), 24, "new/checkpoints/best"),
    (("train", "{pipeline}", "--run", "{disk}/new"), 3500, "new/checkpoints/best"),
    (("train", "{pipeline}", "--run", "{disk}/new"), 8192, "new/checkpoints/last"),
    (("predict", "{disk}/unpredicted"), 12, "unpredicted/predictions/train.embeddings.npy"),
    (("predict", "{disk}/unpredicted"), 24, "unpredicted/predictions/val.parquet"),
    (("evaluate", "{disk}/one"), 0, "one/run.json"),
    (("evaluate", "{disk}/one"), 12, "one/evaluation/"),
    (("select", "{disk}/one", "--no-tag"), 0, "one/selection/"),
    (("predict", "{disk}/one", "{images}", "--output", "{disk}/answers.csv"), 0, "answers.csv"),
    (("predict", "{disk}/one", "{images}", "--output", "{disk}/answers.jsonl"), 0, "answers.jsonl"),
    (("predict", "{disk}/one", "{images}", "--output", "{disk}/answers.parquet"), 0, "answers.parquet"),
    (("compare", "{run}", "{disk}/one"), 0, "one/compare-with-one"),
]


@pytest.mark.parametrize(("words", "room", "where"), STAGES, ids=[f"{w[0]} {place}" for w, _, place in STAGES])
def test_a_full_disk_is_named_and_room_is_all_it_needs(
    small: dict[str, Path],
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: Sequence[str],
    room: int,
    where: str,
) -> None:
    monkeypatch.setattr(cost, "disk_bytes", lambda *parts: 0)  # others fill the disk after it was measured
    for name in ("one", "unpredicted"):
        shutil.copytree(small["run"], disk / name)
    shutil.rmtree(disk / "unpredicted" / "predictions")
    places = small | {"disk": disk, "images": small["card"].parent / "images" / "test"}
    given = [word.format(**places) for word in words]
    fill(disk, room)
    before = digests(disk)
    said = refusal_in(rsam(*given, check=2).stderr)
    after = digests(disk)
    assert f"{disk}/{where}" in said and ("full" in said or "No space" in said or "0 MiB free" in said), said
    whole = [disk / "one" / "evaluation" / "metrics.json", disk / "one" / "near_duplicates.parquet"]
    touched = {name for name in changed(before, after) if name in before}
    assert touched <= {str(path) for path in [*whole, disk / "unpredicted" / "run.json"]}, "else a part of a new file"
    assert not list(disk.rglob("*.partial"))
    (disk / "ballast").unlink()
    rsam(*given)


def test_pictures_that_do_not_fit_are_named_with_their_folder(small: dict[str, Path], disk: Path) -> None:
    fill(disk, 24)
    images = small["card"].parent / "images" / "test"
    said = refusal_in(rsam("predict", small["run"], images, "--draw", disk / "drawn", check=2).stderr)
    assert f"--draw {disk / 'drawn'}: " in said and "No space left on device" in said
    assert all(path.stat().st_size for path in (disk / "drawn").iterdir())


def test_a_limit_on_files_is_named(small: dict[str, Path], tmp_path: Path) -> None:
    """As `ulimit -f` sets it."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        images = small["card"].parent / "images" / "test"
        done = rsam("predict", small["run"], images, "--output", tmp_path / "answers.csv", check=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert f"{tmp_path / 'answers.csv'}: a file is larger than this disk or `ulimit -f` allows" in refusal_in(
        done.stderr
    )
    assert not list(tmp_path.iterdir())
