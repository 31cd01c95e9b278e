"""torch.export's own archive (`.pt2`): runs wherever torch does, without our code or timm's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from rsam_app.export_model.check import Run
from rsam_app.export_model.deployed import DeployedModel

DESCRIPTION = "description.json"
"""Name of the description among the archive's extra files."""


def require(deployed: DeployedModel) -> None:
    """Nothing: torch is here."""


def write(program: ExportedProgram, deployed: DeployedModel, description: dict[str, Any], path: Path) -> None:
    """Write `path`, with the description as extra file `description.json`."""
    text = json.dumps(description, indent=2, ensure_ascii=False)
    torch.export.save(program, path, extra_files={DESCRIPTION: text})


def open_(path: Path) -> Run:
    """The file at work in torch."""
    module = torch.export.load(path).module()

    def run(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return tuple(module(images))

    return run
