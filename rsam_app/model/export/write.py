"""Exports a model: traces, writes and checks it in a hidden folder, then publishes the files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from rsam_app.model import load_model
from rsam_app.model.export import onnx_file, torch_export_file
from rsam_app.model.export.check import TOLERANCE, Difference, Inference, compare
from rsam_app.model.export.deployed import DeployedModel, describe, trace
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class Format:
    """A file format. `write` writes a traced model with its description, `load` makes a file runnable, and `require`
    raises `UserError` if the format cannot hold the model. `fused_attention`: whether it holds torch's own kernel."""

    name: str
    suffix: str
    write: Callable[[ExportedProgram, DeployedModel, dict[str, Any], Path], None]
    load: Callable[[Path], Inference]
    require: Callable[[DeployedModel], None] = lambda deployed: None
    fused_attention: bool = True


FORMATS = {
    "onnx": Format("onnx", ".onnx", onnx_file.write, onnx_file.load, onnx_file.require, False),
    "torch-export": Format("torch-export", ".pt2", torch_export_file.write, torch_export_file.load),
}


def format_of(out: Path, name: str | None) -> Format:
    """The format called `name`, else that of the suffix of `out`. Raises `UserError` if unknown or if they differ."""
    known = ", ".join(f"{f.name} ({f.suffix})" for f in FORMATS.values())
    by_suffix = next((f for f in FORMATS.values() if f.suffix == out.suffix.lower()), None)
    if name is None:
        if by_suffix is None:
            raise UserError(f"{out}: the suffix names no format. Known: {known}; or use --format.")
        return by_suffix
    if name not in FORMATS:
        raise UserError(f"--format {name}: unknown. Known: {known}.")
    if by_suffix is not None and by_suffix.name != name:
        raise UserError(f"{out}: the suffix says {by_suffix.name}, --format says {name}. Change one of them.")
    return FORMATS[name]


def batch_of(value: str) -> int | None:
    """The number of images from `--batch`; None for `dynamic`. Raises `UserError` for anything else."""
    if value == "dynamic":
        return None
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise UserError(f"--batch {value}: expected `dynamic` or a number of images from 1.")
    return int(value)


@dataclass(frozen=True)
class ModelExport:
    """The files of an export, and their differences from the model."""

    out: Path
    description: Path
    format: str
    batch: int | None
    side: int
    size: int
    differences: dict[str, Difference]
    temperature: float | None

    def as_dict(self) -> dict[str, Any]:
        """The export as JSON-serialisable values."""
        return {
            "out": str(self.out),
            "description": str(self.description),
            "format": self.format,
            "batch": self.batch or "dynamic",
            "input_size": [3, self.side, self.side],
            "bytes": self.size,
            "temperature": self.temperature,
            "differences": {n: {"largest": d.largest, "relative": d.relative} for n, d in self.differences.items()},
        }

    def text(self) -> str:
        """Three lines that report the export."""
        unit = {"logits": "", "rectangle": " pixels", "probabilities": ""}
        differences = ", ".join(
            f"{n} {d.largest:.1e}{unit[n]} ({d.relative:.1e} of its scale)" for n, d in self.differences.items()
        )
        images = "any number of RGB images" if self.batch is None else f"{self.batch} RGB image{'s'[: self.batch - 1]}"
        return (
            f"{self.out}: {self.format}, {self.size / 1e6:.1f} MB, for {images} of {self.side} × {self.side},"
            f" float32 in [0, 1]; described in {self.description.name}\n"
            f"{self._calibration()}\n"
            f"largest difference from the model itself: {differences}"
        )

    def _calibration(self) -> str:
        if self.temperature is None:
            return (
                "probabilities: not calibrated, as the model has no temperature;"
                " `rsam predict RUN` fits one if there are enough validation images"
            )
        return f"probabilities: calibrated, softmax(logits / {self.temperature:.3f})"


def export_model(model_folder: Path, out: Path, format: Format, batch: int | None = None) -> ModelExport:
    """Write the model in `model_folder` to the file `out`, for `batch` images or any number, with a description beside
    it.

    The written file is run on random images and compared with the model; both files appear if it agrees, else neither.
    Raises `UserError` if one of the files exists, the model is missing or cannot be traced, a package is missing, the
    file differs by more than `TOLERANCE` of an output's scale, or the files cannot be written.
    """
    description_file = out.with_name(out.name + ".json")
    _refuse_existing(out, description_file)
    deployed = DeployedModel(load_model(model_folder)).eval()
    format.require(deployed)
    program = trace(deployed, batch, format.fused_attention)
    description = describe(deployed, batch)
    with _staged(out) as staging:
        partial = staging / f"model{format.suffix}"
        format.write(program, deployed, description, partial)
        differences = compare(deployed, format.load(partial), batch)
        _refuse_different(out, differences)
        size, temperature = partial.stat().st_size, deployed.model.temperature
        export = ModelExport(out, description_file, format.name, batch, deployed.side, size, differences, temperature)
        content = {"file": out.name, "format": format.name, **description, "checked": export.as_dict()["differences"]}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (staging / "description.json").write_text(text, encoding="utf-8")
        _refuse_existing(out, description_file)
        os.rename(staging / "description.json", description_file)
        os.rename(partial, out)  # last: if the model is there, so is its description
    return export


def _refuse_existing(*files: Path) -> None:
    for file in files:
        if os.path.lexists(file):
            raise UserError(f"{file}: exists; an export never overwrites. Choose another name or remove it.")


def _refuse_different(out: Path, differences: dict[str, Difference]) -> None:
    for name, difference in differences.items():
        if not difference.relative <= TOLERANCE:
            raise UserError(
                f"{out}: not written: its {name} differ from the model's by {difference.largest:.1e}, which is"
                f" {difference.relative:.1e} of their scale ({TOLERANCE:.0e} is allowed).\n"
                "Choose the other --format, and report the backbone as an issue."
            )


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out`, on the same disk, removed afterwards. `OSError` becomes `UserError`."""
    staging = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)  # left by a killed export
        staging.mkdir()
        yield staging
    except OSError as error:
        raise UserError(f"{out}: not written ({error}). Choose another folder or free disk space.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
