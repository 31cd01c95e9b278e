"""torch.export's own archive (`.pt2`): runs wherever torch does, without our code or timm's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from rsam_app.model.export.check import Run
from rsam_app.model.export.wrapper import DeployedModel
from rsam_app.system.errors import UserError

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


def trace(deployed: DeployedModel, batch: int | None) -> ExportedProgram:
    """The graph of `deployed` for `batch` images, or for any number where None.

    Raises `UserError` where the backbone's own code works out sizes in a way that fixes the number of images.
    """
    example = torch.rand(batch or 2, 3, deployed.side, deployed.side, generator=torch.Generator().manual_seed(0))
    shapes = None if batch else ({0: Dim("batch", min=1)},)
    try:
        with torch.no_grad():
            program = torch.export.export(deployed, (example,), dynamic_shapes=shapes)
    except torch._dynamo.exc.UserError as error:
        backbone = deployed.model._model_args["backbone"]
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"export-model: {backbone} cannot be traced ({reason}).\n"
            + ("Take another backbone." if batch else "Export it for a fixed number of images: --batch 1.")
        ) from error
    _forget_source(program)
    return program


def _forget_source(program: ExportedProgram) -> None:
    """A traced graph quotes the source lines and paths of the machine it was made on; nobody else needs them."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
