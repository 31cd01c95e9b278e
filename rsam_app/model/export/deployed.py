"""The model as it is deployed: plain pixels in, plain tensors out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from rsam_app.model import AttentiveClassifier
from rsam_app.system.errors import UserError, reason_of
from rsam_app.system.version import __version__

INPUT = "images"
OUTPUTS = {
    "logits": "(batch, classes): unnormalised class scores, in the order of `classes`; their softmax is the confidence",
    "rectangle": (
        "(batch, 5): the attended rectangle, as cx, cy, width, height in pixels of the network input (x right, y down,"
        " the input spans 0 … side) and angle in radians, clockwise as displayed, in [-pi/2, pi/2), width along it;"
        " to draw it on an image of W x H pixels, scale its four corners by W / side and H / side"
    ),
    "probabilities": (
        "(batch, classes): softmax(logits / temperature), in the order of `classes`: calibrated on validation images"
        " unless `temperature` is null, which counts as 1"
    ),
}
"""Names and descriptions of the outputs."""

SURE = (
    "the sure answer: `nodes` has, for each of the `levels` above `classes`, the node above each class; a node's"
    " probability is the sum of `probabilities` over its classes; the answer is of the finest level, `classes` first,"
    " whose most probable node has at least the probability `threshold`, chosen for a share `accuracy` of right answers"
)
"""How a reader of an exported file rolls an answer up."""


class DeployedModel(nn.Module):
    """Normalisation → model → `(logits (B, classes), rectangle (B, 5), probabilities (B, classes))`; no rectangle
    without attention. The model's temperature, if it has one, is inside the probabilities.

    Normalisation is inside, so that nobody deploys a model with another's mean and std. The input is float32 in [0, 1]
    rather than bytes, because every runtime and half-precision converter takes it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: AttentiveClassifier) -> None:
        super().__init__()
        self.model = model
        cfg = model.pretrained_cfg
        self.register_buffer("mean", torch.tensor(cfg["mean"], dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(cfg["std"], dtype=torch.float32).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Outputs for RGB images `(B, 3, S, S)`, float32 in [0, 1]; the rectangle is in pixels of that input."""
        output = self.model((images - self.mean) / self.std, return_output=True)
        probabilities = torch.softmax(output.logits / (self.model.temperature or 1.0), dim=1)
        return tuple(part for part in (output.logits, output.rectangle, probabilities) if part is not None)

    @property
    def output_names(self) -> tuple[str, ...]:
        """`logits`, with attention `rectangle`, and `probabilities`."""
        return ("logits", *(("rectangle",) if self.model.attention_module is not None else ()), "probabilities")

    @property
    def side(self) -> int:
        """Side of the square input, in pixels."""
        return int(self.model.pretrained_cfg["input_size"][-1])


def trace(deployed: DeployedModel, batch: int | None, fused_attention: bool = True) -> ExportedProgram:
    """The graph of `deployed` for `batch` images; None: for any number. Without `fused_attention`, transformers attend
    in plain matrix products, as timm's own exports do.

    Raises `UserError` if the backbone's own code computes sizes in a way that fixes the number of images, or decides by
    the values of tensors.
    """
    example = torch.rand(batch or 2, 3, deployed.side, deployed.side, generator=torch.Generator().manual_seed(0))
    shapes = None if batch else ({0: Dim("batch", min=1)},)
    try:
        with torch.no_grad(), nullcontext() if fused_attention else _unfused(deployed):
            program = torch.export.export(deployed, (example,), dynamic_shapes=shapes)
    except RuntimeError as error:
        backbone, reason = deployed.model._model_args["backbone"], reason_of(error)
        fixes_batch = batch is None and isinstance(error, torch._dynamo.exc.UserError)
        raise UserError(
            f"export-model: {backbone} cannot be traced ({reason}).\n"
            + ("Export it for a fixed number of images: --batch 1." if fixes_batch else "Choose another backbone.")
        ) from error
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # source lines and paths of this machine
    return program


@contextmanager
def _unfused(model: nn.Module) -> Iterator[None]:
    """Meanwhile, timm's attention in all modules that have it does not use torch's fused kernel."""
    fused = [vars(module) for module in model.modules() if vars(module).get("fused_attn") is True]
    for attributes in fused:
        attributes["fused_attn"] = False
    try:
        yield
    finally:
        for attributes in fused:
            attributes["fused_attn"] = True


def describe(deployed: DeployedModel, batch: int | None) -> dict[str, Any]:
    """Classes, input, outputs, mean and std, and versions, JSON-serialisable; `batch` None: any number of images."""
    model, side = deployed.model, deployed.side
    cfg = model.pretrained_cfg
    return {
        "description": f"RSAM: {model._model_args['backbone']}, attention {model._model_args['attention']}:"
        " RGB images in; class scores, the attended rectangle and probabilities out",
        "classes": list(model.label_names),
        "input_name": INPUT,
        "input_size": [batch or "batch", 3, side, side],
        "input": f"RGB, float32 in [0, 1] (bytes / 255), the whole image resized to {side} x {side} whatever its shape"
        " (bicubic, antialiased when it shrinks), EXIF orientation applied; mean and std are applied inside",
        "mean": list(cfg["mean"]),
        "std": list(cfg["std"]),
        "normalisation": "inside",
        "temperature": model.temperature,
        "roll_up": model.roll_up and {"meaning": SURE, **model.roll_up.as_json()},
        "outputs": {name: OUTPUTS[name] for name in deployed.output_names},
        "model": dict(model._model_args),
        "versions": {"rsam-app": __version__, "torch": torch.__version__},
    }
