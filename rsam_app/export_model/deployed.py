"""The model as a deployer wants it: plain pixels in, plain tensors out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsam_app.model import AttentiveClassifier

INPUT = "images"
OUTPUTS = ("logits", "rectangle")


class DeployedModel(nn.Module):
    """Normalisation → model → `(logits (B, classes), rectangle (B, 5))`; `(logits,)` where there is no attention.

    Normalisation is inside, so that nobody deploys a model with another's mean and std. The input is float32 in [0, 1]
    and not bytes: every runtime and half-precision converter takes it, and it is a decoder's bytes / 255.
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
        look = self.model((images - self.mean) / self.std, return_look=True)
        return (look.logits,) if look.rectangle is None else (look.logits, look.rectangle)

    @property
    def output_names(self) -> tuple[str, ...]:
        """`logits` and, with attention, `rectangle`."""
        return OUTPUTS[:1] if self.model.attention is None else OUTPUTS

    @property
    def side(self) -> int:
        """Side of the square input, in pixels."""
        return int(self.model.pretrained_cfg["input_size"][-1])
