"""Runs the notebooks of `notebooks/` and stores their outputs in them: `python -m docs_site.notebooks`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
CELL_SECONDS = 900


def run(path: Path, replaced: Mapping[str, str] | None = None) -> Any:
    """The notebook of a file with the outputs of all its cells, run in an empty folder, without what libraries print to
    stderr. `replaced` are texts to replace in its code first. Raises `CellExecutionError` if a cell fails."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        for text, other in (replaced or {}).items():
            cell.source = cell.source.replace(text, other)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=resources).execute()
    for cell in cells:
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        cell.metadata.pop("execution", None)  # when it ran
    return notebook


def main() -> None:
    """Run all notebooks and write them with their outputs."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        nbformat.write(run(path), str(path))  # type: ignore[no-untyped-call]
        print(f"{path.name}: done", flush=True)


if __name__ == "__main__":
    main()
