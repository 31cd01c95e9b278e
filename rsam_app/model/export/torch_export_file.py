"""torch.export's own archive (`.pt2`): it runs wherever torch does, without this package or timm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from rsam_app.model.export.check import Inference
from rsam_app.model.export.deployed import DeployedModel

DESCRIPTION = "description.json"
"""Name of the description among the archive's extra files."""


def write(program: ExportedProgram, deployed: DeployedModel, description: dict[str, Any], path: Path) -> None:
    """Write `path`, with the description as extra file `description.json`."""
    text = json.dumps(description, indent=2, ensure_ascii=False)
    torch.export.save(program, path, extra_files={DESCRIPTION: text})


def load(path: Path) -> Inference:
    """Return a function that runs the file in torch."""
    module = torch.export.load(path).module()

    def run(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return tuple(module(images))

    return run
