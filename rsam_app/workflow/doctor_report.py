"""`rsam doctor --report`: what a maintainer needs to know about a failure, without paths, names and passwords."""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rsam_app.run.folder import PACKAGES, RunFolder, environment
from rsam_app.system.errors import UserError
from rsam_app.workflow.doctor import Check

PREFIXES = ("RSAM_", "FIFTYONE_", "CUDA_", "OMP_", "HF_", "TORCH_")
"""Environment variables whose names are in the report; their values are not."""

LOG_LINES = 60
"""Last lines of a run's log in the report."""

FILE = r"[^\s,:;\"'()]+\.(jpe?g|png|webp|tiff?|bmp|gif|csv|ya?ml|parquet|arrow|safetensors|pth?|mat|jsonl?|xml)\b"
"""A file's name, whose ending stays."""

NOT_SHARED = ("name", "dataset", "root", "weights", "weights_file", "discovered_from", "tag", "key")
"""Settings that are names or paths of yours."""


def report(checks: Sequence[Check], run: Path | None = None) -> str:
    """Return the report as Markdown: versions, checks, names of environment variables, and of a run its settings, its
    stages and the end of its log. Raises `UserError` if `run` is none."""
    found = environment()
    versions = [f"- {name} {found['versions'].get(name) or 'not installed'}" for name in (*PACKAGES, "python")]
    system = f"- {platform.system()} {platform.release()}, {platform.machine()}, {found['hardware']}"
    states = [
        f"- {'ok' if check.ok else '**wrong**'}: {check.name}: {check.detail} {check.remedy}".rstrip()
        for check in checks
    ]
    variables = sorted(name for name in os.environ if name.startswith(PREFIXES))
    parts = ["# rsam doctor", *versions, system, "", "## Checks", *states]
    parts += ["", "## Environment variables that are set", ", ".join(variables) or "none"]
    return without_personal(run, "\n".join([*parts, *(_about(run) if run else [])])) + "\n"


def without_personal(run: Path | None, text: str) -> str:
    """Return the text without what identifies a person, a machine or a photograph: folders, names of files, the user's
    and the machine's name, and anything but the kind of an address."""
    places = {run.absolute() if run else None: "<run>", Path.cwd(): "<here>", Path(tempfile.gettempdir()): "<tmp>"}
    places |= {Path(os.environ["RSAM_DATA"]).absolute(): "<data>"} if os.environ.get("RSAM_DATA") else {}
    places[Path.home()] = "<home>"
    for place, name in sorted(places.items(), key=lambda item: -len(str(item[0]))):
        if place is not None and len(str(place)) > 1:
            text = text.replace(str(place), name)
    text = re.sub(r"\b([a-z][a-z0-9+]*)://[^\s\"')]+", r"\1://<address>", text)
    text = re.sub(r"(?<![\w>/.])/(?!/)[^\s,:;\"'()\]]+", "<path>", text)
    text = re.sub(r"(<[a-z]+>)/[^\s,:;\"'()\]]+", r"\1/…", text)
    text = re.sub(FILE, r"<file>.\1", text, flags=re.IGNORECASE)
    for name, word in ((_user(), "<user>"), (socket.gethostname(), "<machine>"), (platform.node(), "<machine>")):
        if len(name) > 1:
            text = re.sub(rf"(?<![\w<]){re.escape(name)}(?!\w)", word, text)
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user number without a name
        return ""


def _about(run: Path) -> list[str]:
    folder = RunFolder(run)
    if not folder.config_path.exists():
        raise UserError(f"{run}: is not a run folder. Give the folder of a run, e.g. runs/birds.")
    settings = yaml.safe_dump(_shared(folder.load_pipeline().model_dump(mode="json")), sort_keys=False)
    stages = [f"- {name}: {stage.get('seconds')} s" for name, stage in folder.finished_stages.items()]
    log = folder.log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:] if folder.log.exists() else ["none"]
    return [
        *("", "## Run", *stages, "", "```yaml", settings.rstrip(), "```"),
        *("", "## The end of its log", "", "```", *log, "```"),
    ]


def _shared(settings: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in settings.items() if name not in NOT_SHARED}
    return {name: _shared(value) if isinstance(value, dict) else value for name, value in kept.items()}
