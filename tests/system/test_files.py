"""Atomic writes, locks and digests."""

from __future__ import annotations

import fcntl
import hashlib
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rsam_app.system.cache.files import cache_folder, cached_file
from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint, locked, replace_atomically, sha256_of, write_atomically

WRITER = """
import sys
from pathlib import Path
from rsam_app.system.files import write_atomically
print("started", flush=True)
for _ in range(int(sys.argv[3])):
    write_atomically(Path(sys.argv[1]), sys.argv[2] * 1_000_000, shared=True)
"""
HOLDER = """
import sys, time
from pathlib import Path
from rsam_app.system.files import locked
with locked(Path(sys.argv[1]), exclusive=sys.argv[2] == "exclusive"):
    print("locked", flush=True)
    time.sleep(600)
"""


@contextmanager
def started(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Start a process, wait for its first line, and kill it at the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_is_old_or_new_and_never_partial(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "below" / "file.json"
    write_atomically(path, "old", shared)
    with pytest.raises(KeyboardInterrupt), replace_atomically(path, shared) as partial:
        assert not partial.exists() and partial.parent == path.parent
        partial.write_text("half of the n")
        assert path.read_text() == "old"
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]
    write_atomically(path, "Vögel\r\n", shared)
    assert path.read_bytes() == "Vögel\r\n".encode() and list(path.parent.iterdir()) == [path]


def test_leftovers_of_a_killed_process_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    (tmp_path / "folder.partial").mkdir()
    (tmp_path / "folder.partial" / "leftover").touch()
    with replace_atomically(path) as partial:
        partial.mkdir()
        (partial / "content").touch()
    assert [file.name for file in path.iterdir()] == ["content"] and list(tmp_path.iterdir()) == [path]


def test_a_folder_with_content_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "content").touch()
    with pytest.raises(OSError, match="folder"), replace_atomically(tmp_path / "folder") as partial:
        partial.mkdir()
    assert (tmp_path / "folder" / "content").exists() and not (tmp_path / "folder.partial").exists()


def test_several_processes_write_one_file_and_each_version_is_complete(tmp_path: Path) -> None:
    path = tmp_path / ("long name " * 25)
    with started(WRITER, path, "a", 20) as first, started(WRITER, path, "b", 20) as second:
        while first.poll() is None or second.poll() is None:
            if path.exists():
                content = path.read_text()
                assert len(content) == 1_000_000 and content.strip(content[0]) == ""
        assert (first.returncode, second.returncode) == (0, 0)
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_file_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "a" * 1_000_000)
    with started(WRITER, path, "b", 10_000) as writer:
        writer.send_signal(signal.SIGKILL)
    assert path.read_text() in ("a" * 1_000_000, "b" * 1_000_000)


def test_a_lock_excludes_other_processes_until_they_are_killed(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with started(HOLDER, lock, "exclusive") as holder:
        with pytest.raises(BlockingIOError), locked(lock, wait=False):
            pass
        with pytest.raises(BlockingIOError), locked(lock, exclusive=False, wait=False):
            pass
        holder.kill()
        with locked(lock):  # waits until the kernel has released it
            pass


def test_shared_locks_exclude_exclusive_ones_only(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with started(HOLDER, lock, "shared"), locked(lock, exclusive=False, wait=False):
        another = lock.open("a")
        with another, pytest.raises(BlockingIOError):
            fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_keeps_the_content_of_its_file_and_is_released_at_an_error(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("holder 1\n")
    with pytest.raises(ValueError, match="inside"), locked(lock) as stream:
        stream.write("holder 2\n")
        raise ValueError("inside")
    with locked(lock, wait=False):
        assert lock.read_text() == "holder 1\nholder 2\n"


def test_a_child_started_meanwhile_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
    try:
        assert child.is_alive()
        with locked(lock, wait=False) as taken:
            assert taken.writable()
    finally:
        child.kill()
        child.join()


def test_digests_of_bytes_text_and_files_agree(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("Vögel".encode())
    expected = hashlib.sha256("Vögel".encode()).hexdigest()
    assert sha256_of("Vögel") == sha256_of("Vögel".encode()) == sha256_of(tmp_path / "file") == expected
    assert fingerprint({"a": 1, "b": Path("c")}) == fingerprint({"b": Path("c"), "a": 1}) != fingerprint({"a": 1})


def test_a_cached_file_is_made_once_for_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls: list[int] = []
    paths = {cached_file(b"content", ".png", "masks", lambda: calls.append(1) or b"made") for _ in range(2)}
    [path] = paths
    assert path is not None and path.read_bytes() == b"made" and len(calls) == 1
    assert path.relative_to(cache_folder()).parts[0] == "masks" and path.suffix == ".png"
    assert cached_file(b"other", ".png", "masks", lambda: None) is None
    copy = cached_file(b"other", ".png", "masks")
    assert copy is not None and copy.read_bytes() == b"other"


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file/rsam/.*\n.*XDG_CACHE_HOME"):
        cached_file(b"content", "", "images")
