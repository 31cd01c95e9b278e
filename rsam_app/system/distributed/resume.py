"""The command that resumes a stopped training, as the user would type it."""

from __future__ import annotations

import os
import shlex
import sys

from rsam_app.system.distributed.rank import LAUNCHER_REPORTS


def resume_command() -> str:
    """Return this process's own command, so that it continues from the checkpoint.

    A process that `--processes N` started has that option again. In another program than `rsam`, the command has a
    placeholder.
    """
    words = [word for word in sys.argv[1:] if word != "--restart"]
    if words[:1] not in (["train"], ["run"], ["demo"]):
        words = ["train", "PIPELINE"]
    if words[:1] == ["train"] and "--resume" not in words:
        words.append("--resume")
    if LAUNCHER_REPORTS in os.environ and not any(word.startswith("--processes") for word in words):
        words += ["--processes", os.environ.get("WORLD_SIZE", "1")]
    return shlex.join(["rsam", *words])


def resume_hint() -> str:
    """Return the sentence that tells how to continue."""
    return f"Training continues from its checkpoint with `{resume_command()}`."
