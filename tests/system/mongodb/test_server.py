"""The shared private server, with a real mongod and real processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pymongo
import pytest

from rsam_app.system.errors import UserError
from rsam_app.system.mongodb import server
from rsam_app.system.mongodb.binary import Mongod, private_mongod

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the private server is for Linux")

CLIENT = """
import sys
from pathlib import Path
from rsam_app.system.mongodb.binary import Mongod
from rsam_app.system.mongodb.server import join
mongod = Mongod(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]) if sys.argv[4] else None)
print(join(mongod, Path(sys.argv[1])), flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def mongod() -> Mongod:
    return private_mongod()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "Datenbänke und mehr"
    yield folder
    wait_for(lambda: not processes_on(folder), "the server of the test to be gone")
    for path in (folder / "data").rglob("*"):  # 300 MB each, and pytest keeps its folders
        if path.is_file():
            path.unlink()


@contextlib.contextmanager
def client(folder: Path, mongod: Mongod) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CLIENT, str(folder), str(mongod.path), mongod.version, str(mongod.libraries or "")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        if process.poll() is None:
            process.communicate("go\n", timeout=60)


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def processes_on(folder: Path) -> dict[str, int]:
    """Return the process ids of the supervisor and the mongod that run on a folder, by name."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if str(folder / "data") in arguments:
                    found["mongod"] = int(entry.name)
                elif str(folder) in arguments and any(a.endswith("supervisor.py") for a in arguments):
                    found["supervisor"] = int(entry.name)
    return found


def documents(address: str) -> int:
    """Add a document, written to disk, and return their number; a crash loses up to 0.1 s of other writes."""
    with pymongo.MongoClient(address, serverSelectionTimeoutMS=5000, journal=True) as connection:
        connection.test.documents.insert_one({})
        return connection.test.documents.count_documents({})


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"timeout: {what}"
        time.sleep(0.05)


def test_commands_started_together_share_one_server_and_the_last_one_stops_it(folder: Path, mongod: Mongod) -> None:
    with client(folder, mongod) as first, client(folder, mongod) as second:
        address = address_of(first)
        assert address_of(second) == address
        first.communicate("go\n", timeout=60)
        assert documents(address) == 1  # still there for the second
    assert second.returncode == 0
    assert not processes_on(folder), "the last command waits until the server has closed its files"
    with client(folder, mongod) as third:
        assert documents(address_of(third)) == 2


def test_a_killed_command_leaves_no_server_behind_and_no_damage(folder: Path, mongod: Mongod) -> None:
    with client(folder, mongod) as killed:
        assert documents(address_of(killed)) == 1
        killed.kill()
    wait_for(lambda: not processes_on(folder), "the server of a killed command to stop")
    with client(folder, mongod) as after:
        assert documents(address_of(after)) == 2


def test_after_a_killed_supervisor_the_next_command_finds_its_data(folder: Path, mongod: Mongod) -> None:
    with client(folder, mongod) as first:
        assert documents(address_of(first)) == 1
        os.kill(processes_on(folder)["supervisor"], signal.SIGKILL)
        wait_for(lambda: "supervisor" not in processes_on(folder), "the killed supervisor to be gone")
        with client(folder, mongod) as second:
            assert documents(address_of(second)) == 2


def test_a_killed_server_is_started_again_with_all_that_was_acknowledged(folder: Path, mongod: Mongod) -> None:
    """Clients stay connected to its address; the last one still ends it."""
    with client(folder, mongod) as first:
        address = address_of(first)
        with pymongo.MongoClient[dict[str, int]](address) as connection:
            numbers = connection.test.numbers
            for kill in range(5):
                numbers.insert_one({"_id": kill})  # journaled by the address's own options
                os.kill(processes_on(folder)["mongod"], signal.SIGKILL)
                wait_for(lambda: _answers(connection), "the server to be started again", 30)
                assert numbers.count_documents({}) == kill + 1
        first.communicate("go\n", timeout=60)
    assert not processes_on(folder)


def test_a_server_killed_while_it_starts_is_started_again(folder: Path, mongod: Mongod) -> None:
    """The kill came between mongod's last log line and the look at it; the supervisor took that for a failed start."""
    with client(folder, mongod) as first, pymongo.MongoClient[dict[str, int]](address_of(first)) as connection:
        connection.test.numbers.insert_one({"_id": 0})
        for _ in range(3):
            os.kill(killed := processes_on(folder)["mongod"], signal.SIGKILL)
            wait_for(lambda old=killed: processes_on(folder).get("mongod", old) != old, "the next mongod to start")
        wait_for(lambda: _answers(connection), "the server to be started again")
        assert connection.test.numbers.count_documents({}) == 1


def _answers(connection: pymongo.MongoClient[dict[str, int]]) -> bool:
    try:
        return bool(connection.admin.command("ping"))
    except pymongo.errors.ConnectionFailure:
        return False


def listening_ports() -> set[str]:
    """The addresses on which any process of this machine accepts connections over TCP."""
    files = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    lines = [line.split() for path in files for line in path.read_text().splitlines()[1:]]
    return {line[9] for line in lines if line[3] == "0A"}


def sockets_of(process: int) -> set[str]:
    links = [os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir()]
    return {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:")}


@pytest.mark.parametrize("long", [False, True])
def test_only_this_user_can_reach_the_server(tmp_path: Path, folder: Path, mongod: Mongod, long: bool) -> None:
    folder = folder / ("x" * 100) if long else folder
    before = set(Path("/tmp").glob("rsam-*/mongod.sock"))
    with client(folder, mongod) as process:
        assert documents(address_of(process)) == 1
        assert not listening_ports() & sockets_of(processes_on(folder)["mongod"])
        (path,) = set(Path("/tmp").glob("rsam-*/mongod.sock")) - before if long else {folder / "mongod.sock"}
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700 and path.parent.stat().st_uid == os.getuid()
    wait_for(lambda: not processes_on(folder), "the server to stop")
    assert not path.exists() and (path.parent == folder or not path.parent.exists())


def test_a_server_of_an_earlier_version_is_joined_at_its_port(folder: Path, mongod: Mongod) -> None:
    folder.mkdir(parents=True)
    (folder / "server.json").write_text(json.dumps({"port": 12345, "pid": os.getpid(), "host": platform.node()}))
    with (folder / "supervisor.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with client(folder, mongod) as process:
            assert address_of(process).startswith("mongodb://127.0.0.1:12345/?journal=true")
            process.kill()


def test_a_folder_that_cannot_be_made_is_named_with_a_remedy(tmp_path: Path, mongod: Mongod) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/database: .*\n.*RSAM_DATABASE_DIR"):
        server.join(mongod, tmp_path / "file" / "database")


def test_a_damaged_database_is_refused_with_mongods_reason(folder: Path, mongod: Mongod) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "WiredTiger.turtle").write_text("nonsense")
    (folder / "data" / "WiredTiger").write_text("nonsense")
    with pytest.raises(UserError, match=r"(?s)does not start there: .*[Ww]ired.*mongod\.log"):
        server.join(mongod, folder)


def test_a_full_disk_is_refused_before_anything_is_written(
    folder: Path, mongod: Mongod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUIRED_MB", 10**9)
    with pytest.raises(UserError, match="MB free on this disk"):
        server.join(mongod, folder)
    assert not list((folder / "data").iterdir())


def test_a_folder_in_use_on_another_machine_is_refused(folder: Path, mongod: Mongod) -> None:
    folder.mkdir(parents=True)
    (folder / "server.json").write_text(json.dumps({"port": 1, "pid": 1, "host": "elsewhere"}))
    with (folder / "supervisor.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="elsewhere"):
            server.join(mongod, folder)
