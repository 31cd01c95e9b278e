"""ONNX files, written by torch's exporter and run by ONNX Runtime."""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from rsam_app.model.export.check import Inference
from rsam_app.model.export.deployed import INPUT, DeployedModel
from rsam_app.system.errors import UserError, reason_of

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
MAX_WEIGHT_BYTES = 2**31 - 2**24
"""Weights that fit into one ONNX file beside its graph: protobuf ends at 2 GiB."""


def require(deployed: DeployedModel) -> None:
    """Raise `UserError` if a package is missing or the model is too large for one file."""
    missing = [package for package in PACKAGES if not _imports(package)]
    if missing:
        raise UserError(
            f"export-model: ONNX needs packages that are not installed: {', '.join(missing)}.\n"
            "Run `pip install 'rsam-app[onnx]'`, or export to a .pt2 file instead."
        )
    size = sum(t.numel() * t.element_size() for t in deployed.state_dict().values())
    if size > MAX_WEIGHT_BYTES:
        raise UserError(
            f"export-model: the weights take {size / 2**30:.1f} GiB, but one ONNX file holds less than 2.\n"
            "Export to a .pt2 file instead."
        )


def write(program: ExportedProgram, deployed: DeployedModel, description: dict[str, Any], path: Path) -> None:
    """Write `path`, with each entry of the description as metadata: text unchanged, everything else as JSON.

    Raises `UserError` for a network with an operation that torch's exporter does not convert.
    """
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it reports skipped operators of torchvision, which are not used
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside torch's exporter and onnxscript
            written = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=list(deployed.output_names),
                dynamic_shapes=({0: "batch"},),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # the outer ones only say at which step
            cause = cause.__cause__
        backbone = deployed.model._model_args["backbone"]
        raise UserError(
            f"export-model: {backbone} cannot be converted to ONNX ({reason_of(cause)}).\n"
            "Export to a .pt2 file instead."
        ) from error
    finally:
        exporter.setLevel(level)
    assert written is not None
    model = written.model
    for node in model.graph.all_nodes():
        node.metadata_props.clear()  # source lines and paths of this machine
    model.producer_name, model.producer_version = "rsam-app", description["versions"]["rsam-app"]
    model.doc_string = description["description"]
    for key, value in description.items():
        model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    written.save(str(path), external_data=False)


def load(path: Path) -> Inference:
    """Return a function that runs the file in ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Sequence[Tensor]:
        return [torch.from_numpy(output) for output in session.run(None, {INPUT: images.numpy()})]

    return run


def _imports(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True
