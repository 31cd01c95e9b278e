"""A finished run that a new training replaces: kept inside the run folder until the new one is trained."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rsam_app.run.folder import RunFolder
from rsam_app.system.files import remove, replace_atomically

OUTPUTS = (
    "config.yaml",
    "checkpoints",
    "predictions",
    "model",
    "metrics.jsonl",
    "training_records.json",
    "training_probabilities.npy",
    "held_out_probabilities.npy",
    "discovered.json",
    "run.json",  # last: it says which of the others are complete
)
"""Files and folders that a training removes or overwrites."""
NEVER_REWRITTEN = ("checkpoints", "predictions")
"""Folders whose files are only ever replaced, so that a link keeps their content."""


def keep_finished(run: RunFolder) -> Path:
    """Copy the outputs of a finished training into `RUN/replaced`, unless an earlier one is still kept there.

    Returns that folder. Large files are linked if the file system can.
    """
    kept = _folder(run)
    if kept.exists():
        return kept
    with replace_atomically(kept) as partial:
        partial.mkdir()
        for name in OUTPUTS:
            _copy(run.path / name, partial / name)
    return kept


def restore_finished(run: RunFolder) -> bool:
    """Put a kept run back in place of a training that left no checkpoint; returns whether there was one."""
    kept = _folder(run)
    if not kept.exists():
        return False
    for name in OUTPUTS:
        remove(run.path / name)
        _copy(kept / name, run.path / name)
    shutil.rmtree(kept)
    return True


def forget_finished(run: RunFolder) -> None:
    """Remove a kept run, as the one that replaces it is trained."""
    shutil.rmtree(_folder(run), ignore_errors=True)


def _folder(run: RunFolder) -> Path:
    return run.path / "replaced"


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        copy = _link if source.name in NEVER_REWRITTEN else shutil.copy2
        shutil.copytree(source, target, copy_function=copy)
    elif source.exists():
        shutil.copy2(source, target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
