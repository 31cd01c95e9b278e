"""The notebooks run as they stand, with fewer epochs, and are committed with outputs that name no machine."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from docs_site.notebooks import NOTEBOOKS, run

ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
SHORTER = {'"epochs": 20': '"epochs": 1', "epochs=14": "epochs=2", "images_per_species=40": "images_per_species=12"}


def test_there_are_two() -> None:
    assert [path.stem for path in ALL] == ["folder_to_reviewed_model", "rsam_in_your_network"]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_cell_runs(path: Path) -> None:
    stored, again = nbformat.read(path, as_version=4), run(path, SHORTER)
    for before, after in zip(stored.cells, again.cells, strict=True):
        if before.cell_type == "code":
            assert [sorted(output.get("data", {})) for output in before.outputs] == [
                sorted(output.get("data", {})) for output in after.outputs
            ]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_the_stored_outputs_name_no_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert any(cell.get("outputs") for cell in notebook.cells)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        said = f"{output.get('text', '')} {output.get('data', {}).get('text/plain', '')}"
        assert not re.search(r"(?<![\w.])/[\w.]+/", said), "an absolute path"
