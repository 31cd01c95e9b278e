"""What a deployer must know about an exported model: it travels inside the file, and beside it as JSON."""

from __future__ import annotations

from typing import Any

import torch

import rsam_app
from rsam_app.export_model.deployed import INPUT, DeployedModel

OUTPUT_TEXTS = {
    "logits": "(batch, classes): unnormalised class scores, in the order of `classes`; their softmax is the confidence",
    "rectangle": (
        "(batch, 5): where the model looked, as cx, cy, width, height in pixels of the network input (x right, y down,"
        " the input spans 0 … side) and angle in radians, clockwise as displayed, in [-pi/2, pi/2), width along it;"
        " to draw it on an image of W x H pixels, scale its four corners by W / side and H / side"
    ),
}


def describe(deployed: DeployedModel, batch: int | None) -> dict[str, Any]:
    """Classes, input, outputs, mean and std, and versions, JSON-serialisable; `batch` None where any will do."""
    model, side = deployed.model, deployed.side
    cfg = model.pretrained_cfg
    return {
        "description": f"RSAM: {model._model_args['backbone']}, attention {model._model_args['attention']}:"
        " RGB images in, class scores and the rectangle the model looked at out",
        "classes": list(model.label_names),
        "input_name": INPUT,
        "input_size": [batch or "batch", 3, side, side],
        "input": f"RGB, float32 in [0, 1] (bytes / 255), the whole image resized to {side} x {side} whatever its shape"
        " (bicubic, antialiased where it shrinks), EXIF orientation applied; mean and std are applied inside",
        "mean": list(cfg["mean"]),
        "std": list(cfg["std"]),
        "normalisation": "inside",
        "outputs": {name: OUTPUT_TEXTS[name] for name in deployed.output_names},
        "model": dict(model._model_args),
        "versions": {"rsam-app": rsam_app.__version__, "torch": torch.__version__},
    }
