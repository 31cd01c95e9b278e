"""One export: trace, write, check what was written, and only then let it appear."""

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
from rsam_app.model.export import onnx, torch_export
from rsam_app.model.export.check import TOLERANCE, Difference, Run, compare
from rsam_app.model.export.torch_export import trace
from rsam_app.model.export.wrapper import DeployedModel, describe
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class Format:
    """A file format: its suffix, what it needs, how to write a traced model with its description, and to run it."""

    name: str
    suffix: str
    require: Callable[[DeployedModel], None]
    write: Callable[[ExportedProgram, DeployedModel, dict[str, Any], Path], None]
    open: Callable[[Path], Run]


FORMATS = {
    "onnx": Format("onnx", ".onnx", onnx.require, onnx.write, onnx.open_),
    "torch-export": Format("torch-export", ".pt2", torch_export.require, torch_export.write, torch_export.open_),
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


@dataclass(frozen=True)
class ModelExport:
    """What was written, and how near it is to the model it was made from."""

    out: Path
    beside: Path
    format: str
    batch: int | None
    side: int
    size: int
    differences: dict[str, Difference]

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-serialisable values."""
        return {
            "out": str(self.out),
            "description": str(self.beside),
            "format": self.format,
            "batch": self.batch or "dynamic",
            "input_size": [3, self.side, self.side],
            "bytes": self.size,
            "differences": {n: {"largest": d.largest, "relative": d.relative} for n, d in self.differences.items()},
        }

    def text(self) -> str:
        """Two or three lines for a person."""
        unit = {"logits": "", "rectangle": " pixels"}
        far = ", ".join(
            f"{n} {d.largest:.1e}{unit[n]} ({d.relative:.1e} of its scale)" for n, d in self.differences.items()
        )
        images = "any number of RGB images" if self.batch is None else f"{self.batch} RGB image{'s'[: self.batch - 1]}"
        return (
            f"{self.out}: {self.format}, {self.size / 1e6:.1f} MB, for {images} of {self.side} × {self.side},"
            f" float32 in [0, 1]; described in {self.beside.name}\n"
            f"largest difference from the model itself: {far}"
        )


def export_model(model_folder: Path, out: Path, format: Format, batch: int | None = None) -> ModelExport:
    """Write the model in `model_folder` to the file `out`, for `batch` images or any number, with a JSON beside it.

    The written file is run on random images and compared with the model; both files appear when that went well, else
    nothing is left. Raises `UserError` where one of the files exists, the model is missing or cannot be traced, a
    package is missing, the file differs by more than `TOLERANCE` of an output's scale, or the system refuses to write.
    """
    beside = out.with_name(out.name + ".json")
    _refuse_existing(out, beside)
    deployed = DeployedModel(load_model(model_folder)).eval()
    format.require(deployed)
    program = trace(deployed, batch)
    description = describe(deployed, batch)
    with _staged(out) as staging:
        partial = staging / f"model{format.suffix}"
        format.write(program, deployed, description, partial)
        differences = compare(deployed, format.open(partial), batch)
        _refuse_different(out, differences)
        size = partial.stat().st_size
        export = ModelExport(out, beside, format.name, batch, deployed.side, size, differences)
        described = {"file": out.name, "format": format.name, **description, "checked": export.as_dict()["differences"]}
        (staging / "description.json").write_text(
            json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        _refuse_existing(out, beside)
        os.rename(staging / "description.json", beside)
        os.rename(partial, out)  # last: where the model is, all of it is
    return export


def _refuse_existing(*files: Path) -> None:
    for file in files:
        if os.path.lexists(file):
            raise UserError(f"{file}: exists; an export never overwrites. Give another name, or remove it.")


def _refuse_different(out: Path, differences: dict[str, Difference]) -> None:
    for name, difference in differences.items():
        if not difference.relative <= TOLERANCE:
            raise UserError(
                f"{out}: not written: its {name} differ from the model's by {difference.largest:.1e}, which is"
                f" {difference.relative:.1e} of their scale ({TOLERANCE:.0e} is allowed).\n"
                "Take the other --format, and tell us which backbone this was."
            )


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out`, on the same disk; nothing of it stays. `OSError` becomes `UserError`."""
    staging = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)  # of an export that was killed
        staging.mkdir()
        yield staging
    except OSError as error:
        raise UserError(f"{out}: not written ({error}). Choose another place, or make room.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
