"""Probabilities that a run saved: only numbers are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rsam_app.evaluation.scores.label_belief import training_belief
from rsam_app.run.folder import RunFolder
from rsam_app.system.errors import UserError


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["training_probabilities.npy", "held_out_probabilities.npy"])
def test_an_array_of_objects_is_refused_and_not_executed(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / name, np.array([Hostile(tmp_path / "executed")] * 2, dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=rf"{name}: is damaged .*Python objects"):
        training_belief(RunFolder(tmp_path), ["a", "b"])
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"junk"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "training_probabilities.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"training_probabilities\.npy: is damaged"):
        training_belief(RunFolder(tmp_path), ["a"])
