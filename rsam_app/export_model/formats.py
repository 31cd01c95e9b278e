"""The formats a model is exported to: by name, by a file's suffix, and who writes and runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from rsam_app.errors import UserError
from rsam_app.export_model import onnx_file, torch_export_file
from rsam_app.export_model.check import Run
from rsam_app.export_model.deployed import DeployedModel


@dataclass(frozen=True)
class Format:
    """A file format: its suffix, what it needs, how to write a traced model with its description, and to run it."""

    name: str
    suffix: str
    require: Callable[[DeployedModel], None]
    write: Callable[[ExportedProgram, DeployedModel, dict[str, Any], Path], None]
    open: Callable[[Path], Run]


FORMATS = {
    "onnx": Format("onnx", ".onnx", onnx_file.require, onnx_file.write, onnx_file.open_),
    "torch-export": Format(
        "torch-export", ".pt2", torch_export_file.require, torch_export_file.write, torch_export_file.open_
    ),
}


def format_of(out: Path, asked: str | None) -> Format:
    """The format `asked` for, or that of the suffix of `out`. Raises `UserError` where neither says, or both differ."""
    known = ", ".join(f"{f.name} ({f.suffix})" for f in FORMATS.values())
    by_suffix = next((f for f in FORMATS.values() if f.suffix == out.suffix.lower()), None)
    if asked is None:
        if by_suffix is None:
            raise UserError(f"{out}: the suffix names no format. Known: {known}; or say it with --format.")
        return by_suffix
    if asked not in FORMATS:
        raise UserError(f"--format {asked}: unknown. Known: {known}.")
    if by_suffix is not None and by_suffix.name != asked:
        raise UserError(f"{out}: the suffix says {by_suffix.name}, --format says {asked}. Change one of them.")
    return FORMATS[asked]


def batch_of(asked: str) -> int | None:
    """The number of images a file is for; None for `dynamic`. Raises `UserError` for anything else."""
    if asked == "dynamic":
        return None
    if not (asked.isascii() and asked.isdigit() and int(asked) > 0):
        raise UserError(f"--batch {asked}: expected `dynamic` or a number of images from 1.")
    return int(asked)
