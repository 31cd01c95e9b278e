"""What `rsam doctor` looks at: is this machine able to run everything, and if not, what is the one thing to do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rsam_app.run.folder import PACKAGES
from rsam_app.system.errors import UserError
from rsam_app.system.hardware import available_cores

OLDEST_PYTHON = (3, 11)
MEMORY = 4  # GB: training at 224 pixels and FiftyOne beside it
DISK = 2  # GB: a run with its checkpoints, a database, a dataset
SETUP = "Run `make setup`, which installs the versions in requirements.lock."


@dataclass(frozen=True)
class Check:
    """One thing looked at. `remedy` is what to do, there exactly where something is wrong (`ok` is False)."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.ok == bool(self.remedy):
            raise ValueError(f"{self.name}: a remedy belongs to what is wrong, and to nothing else")


def examine(runs: Path = Path("runs")) -> list[Check]:
    """Look at everything, in the order in which things depend on each other; raises nothing for what is wrong.

    `runs` is the folder that runs are written to. Takes some seconds: torch is imported, the database started.
    """
    checks = [_python(), _packages(), _torch()]
    if checks[-1].ok:
        checks.append(_accelerator())
    return [*checks, _machine(), *_disks(runs), _database(), _photographs()]


def _python() -> Check:
    detail = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return Check("Python", False, detail, "Install Python 3.11 or newer and run `make setup` with it.")
    return Check("Python", True, detail)


def _packages() -> Check:
    """Whether what `pyproject.toml` asks for is installed, in a version it allows."""
    from packaging.requirements import Requirement

    wrong = []
    for text in metadata.requires("rsam-app") or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        return Check("packages", False, ", ".join(wrong), SETUP)
    return Check("packages", True, ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES))


def _torch() -> Check:
    """Whether torch loads, and torchvision with it: the two come as a pair, and a wrong pair fails on import."""
    try:
        import torch
        import torchvision
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Check("torch", False, f"does not load: {reason}", SETUP)
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    return Check("torch", True, f"{torch.__version__} (built for {build}) with torchvision {torchvision.__version__}")


def _accelerator() -> Check:
    import torch

    from rsam_app.system.precision import has_native_bfloat16

    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        names = ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GB)" for device in devices)
        return Check("accelerator", True, f"{names}, bfloat16: {_word(has_native_bfloat16(torch.device('cuda')))}")
    if torch.backends.mps.is_available():
        return Check("accelerator", True, "Apple GPU (mps)")
    if Path("/proc/driver/nvidia/version").exists():
        return Check(
            "accelerator",
            False,
            f"an NVIDIA driver is loaded, and torch {torch.__version__} finds no GPU through it",
            "Update the NVIDIA driver to one for this CUDA version."
            if torch.version.cuda
            else "Install a torch built for CUDA: `make setup` does.",
        )
    native = _word(has_native_bfloat16(torch.device("cpu")))
    return Check("accelerator", True, f"none: runs on the CPU, bfloat16: {native}")


def _machine() -> Check:
    cores = available_cores()
    memory = _memory() / 2**30
    detail = f"{cores} cores, {memory:.0f} GB memory"
    if memory < MEMORY:
        return Check("machine", False, detail, f"Give it {MEMORY} GB of memory: training is killed with less.")
    return Check("machine", True, detail)


def _memory() -> int:
    """Bytes this process may use: the machine's memory, or less where a container is allowed less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.exists() and (text := limit.read_text().strip()).isdigit():
            return min(total, int(text))
    return total


def _disks(runs: Path) -> Iterator[Check]:
    from rsam_app.system.mongodb.connection import private_folder

    places = {
        "disk for runs": (runs, "Free some, or write elsewhere with --run."),
        "disk for the database": (private_folder(), "Free some, or set RSAM_DATABASE_DIR to a folder elsewhere."),
    }
    for name, (folder, remedy) in places.items():
        place = next((p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir()), Path("/"))
        free = shutil.disk_usage(place).free / 2**30
        detail = f"{free:.0f} GB free in {place}"
        if not os.access(place, os.W_OK):
            yield Check(name, False, f"{place} cannot be written", remedy.replace("Free some", "Make it writable"))
        elif free < DISK:
            yield Check(name, False, f"{free:.1f} GB free in {place}, {DISK} are needed", remedy)
        else:
            yield Check(name, True, detail)


def _database() -> Check:
    """Whether FiftyOne's database answers: it is started, or the configured one is asked."""
    from rsam_app.system.mongodb.connection import import_fiftyone, ping, provide

    try:
        database = provide()
        if database.uri:
            ping(database.uri, database.kind)
        else:
            import_fiftyone()  # starts its own server, and connects
    except UserError as error:
        what, _, remedy = str(error).partition("\n")
        return Check("database", False, what, remedy or "Set FIFTYONE_DATABASE_URI to a running MongoDB.")
    return Check("database", True, f"{database}, answers")


def _photographs() -> Check:
    """Whether the folder that cards' relative roots start from is there; without one set, none is needed yet."""
    chosen = os.environ.get("RSAM_DATA")
    folder = Path(chosen or "data").absolute()
    if folder.is_dir():
        return Check("RSAM_DATA", True, f"{folder}, {len(list(folder.iterdir()))} entries")
    if chosen:
        return Check("RSAM_DATA", False, f"{folder} is no folder", "Set RSAM_DATA to the folder with your datasets.")
    return Check("RSAM_DATA", True, f"not set, and {folder} is not there yet")


def _word(native: bool) -> str:
    return "native" if native else "not native (float32 is used)"
