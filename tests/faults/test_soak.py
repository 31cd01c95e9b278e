"""The soak in its short form: one kill of the whole loop."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from faults.soak import soak


def test_killed_commands_given_again_leave_what_undisturbed_ones_leave(
    fiftyone_module: ModuleType, tmp_path: Path
) -> None:
    done, wrong = soak(tmp_path, kills=1, seed=1, only=["run"])
    assert wrong == [] and done == {"run": 1}
