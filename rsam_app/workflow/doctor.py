"""`rsam doctor`: check that this machine can run everything, with a remedy for each problem."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rsam_app.config import REPOSITORY
from rsam_app.run.folder import PACKAGES
from rsam_app.system.errors import UserError, reason_of
from rsam_app.system.extras import MODULES, is_installed
from rsam_app.system.files import nearest_folder
from rsam_app.system.hardware import available_cores

OLDEST_PYTHON = (3, 11)
MIN_MEMORY = 4  # GB: training at 224 pixels, with FiftyOne beside it
MIN_DISK = 2  # GB: a run with its checkpoints, a database, a dataset
SETUP = (
    "Run `make setup`, which installs the versions in requirements.lock."
    if (REPOSITORY / "requirements.lock").exists()
    else "Run `pip install --upgrade 'rsam-app[all]'`."
)


@dataclass(frozen=True)
class Check:
    """The result of one check; it has a `remedy` if and only if `ok` is False."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.ok == bool(self.remedy):
            raise ValueError(f"{self.name}: a failed check needs a remedy, and a passed one has none")


def run_checks(runs: Path = Path("runs")) -> list[Check]:
    """Run all checks, in the order of their dependencies; a problem does not raise.

    `runs` is the folder that runs are written to. Takes some seconds, to import torch and to start the database.
    """
    checks = [_python(), _packages(), _torch()]
    if checks[-1].ok:
        checks.append(_accelerator())
    return [*checks, _machine(), *_disks(runs), _database(), _data_folder()]


def _python() -> Check:
    detail = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return Check("Python", False, detail, "Install Python 3.11 or newer and run `make setup` with it.")
    return Check("Python", True, detail)


def _packages() -> Check:
    """Check that the requirements in `pyproject.toml` are installed, in allowed versions."""
    from packaging.requirements import Requirement

    wrong = []
    for text in metadata.requires("rsam-app") or []:
        requirement = Requirement(text)
        extras = ["", *(extra for extra in MODULES if is_installed(extra))]
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
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
    versions = [f"{name} {known}" for name in PACKAGES if (known := _version(name))]
    missing = [f"the extra `{extra}` is not installed" for extra in MODULES if not is_installed(extra)]
    return Check("packages", True, ", ".join([*versions, *missing]))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # it belongs to an extra
        return None


def _torch() -> Check:
    """Check that torch and torchvision load: a mismatched pair fails on import."""
    try:
        import torch
        import torchvision
    except (ImportError, OSError, RuntimeError) as error:
        reason = reason_of(error)
        return Check("torch", False, f"does not load: {reason}", SETUP)
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    return Check("torch", True, f"{torch.__version__} (built for {build}) with torchvision {torchvision.__version__}")


def _accelerator() -> Check:
    import torch

    from rsam_app.system.precision import has_native_bfloat16

    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        names = ", ".join(f"{device.name} ({device.total_memory / 2**30:.0f} GB)" for device in devices)
        return Check("accelerator", True, f"{names}, bfloat16: {_yes_or_no(has_native_bfloat16(torch.device('cuda')))}")
    if torch.backends.mps.is_available():
        return Check("accelerator", True, "Apple GPU (mps)")
    if Path("/proc/driver/nvidia/version").exists():
        return Check(
            "accelerator",
            False,
            f"an NVIDIA driver is loaded, but torch {torch.__version__} finds no GPU",
            "Update the NVIDIA driver to one that supports this CUDA version."
            if torch.version.cuda
            else "Run `make setup`, which installs a torch built for CUDA.",
        )
    native = _yes_or_no(has_native_bfloat16(torch.device("cpu")))
    return Check("accelerator", True, f"none, runs on the CPU, bfloat16: {native}")


def _machine() -> Check:
    cores = available_cores()
    memory = _memory() / 2**30
    detail = f"{cores} cores, {memory:.0f} GB memory"
    if memory < MIN_MEMORY:
        return Check(
            "machine", False, detail, f"Provide at least {MIN_MEMORY} GB of memory: with less, training is killed."
        )
    return Check("machine", True, detail)


def _memory() -> int:
    """Bytes that this process may use: the machine's memory, or a container's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if limit.exists() and (text := limit.read_text().strip()).isdigit():
            return min(total, int(text))
    return total


def _disks(runs: Path) -> Iterator[Check]:
    from rsam_app.system.mongodb.connection import private_folder

    folders = {
        "disk for runs": (runs, "or write elsewhere with --run."),
        "disk for the database": (private_folder(), "or set RSAM_DATABASE_DIR to another folder."),
    }
    for name, (folder, otherwise) in folders.items():
        existing = nearest_folder(folder)
        free = shutil.disk_usage(existing).free / 2**30
        detail = f"{free:.1f} GB free in {existing}"
        if not os.access(existing, os.W_OK):
            yield Check(name, False, f"{existing} is not writable", f"Make it writable, {otherwise}")
        elif free < MIN_DISK:
            yield Check(name, False, f"{detail}, {MIN_DISK} GB needed", f"Free disk space, {otherwise}")
        else:
            yield Check(name, True, detail)


def _database() -> Check:
    """Check that FiftyOne's database responds; the private one is started for it.

    A machine that only trains has none.
    """
    if not is_installed("review"):
        return Check("database", True, "none: the extra `review` is not installed")
    from rsam_app.system.mongodb.connection import import_fiftyone, ping, provide

    try:
        database = provide()
        if database.uri:
            ping(database.uri, database.kind)
        else:
            import_fiftyone()  # starts its own server, and connects
    except UserError as error:
        problem, _, remedy = str(error).partition("\n")
        return Check("database", False, problem, remedy or "Set FIFTYONE_DATABASE_URI to a running MongoDB.")
    return Check("database", True, f"{database}, responds")


def _data_folder() -> Check:
    """Check that the folder RSAM_DATA exists, if it is set."""
    chosen = os.environ.get("RSAM_DATA")
    folder = Path(chosen or "data").absolute()
    if folder.is_dir():
        return Check("RSAM_DATA", True, f"{folder}, {len(list(folder.iterdir()))} entries")
    if chosen:
        return Check("RSAM_DATA", False, f"{folder} is not a folder", "Set RSAM_DATA to the folder with your datasets.")
    return Check("RSAM_DATA", True, f"not set, and {folder} does not exist yet")


def _yes_or_no(native: bool) -> str:
    return "native" if native else "not native (float32 is used)"
