"""Comparison of an exported file's outputs with the original model's, on random images."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.geometry import rectangles as geometry
from rsam_app.model.export.deployed import DeployedModel
from rsam_app.model.preprocess import normalise
from rsam_app.system.errors import UserError

TOLERANCE = 1e-4
"""Largest difference from the eager model, as a share of the output's scale."""

BATCHES = (1, 2, 5)
"""Batch sizes on which a file for any number of images is compared."""

Inference = Callable[[Tensor], Sequence[Tensor]]
"""From images, float32 in [0, 1], to the outputs of a loaded file."""


@dataclass(frozen=True)
class Difference:
    """The difference between a file and the eager model in one output, in the output's unit and relative to `scale`.

    The scale of logits is their largest absolute value, that of a rectangle the input's side in pixels, that of
    probabilities 1.
    """

    largest: float
    scale: float

    @property
    def relative(self) -> float:
        """`largest / scale`; 0 without any difference."""
        return self.largest / self.scale if self.largest else 0.0


def compare(deployed: DeployedModel, run: Inference, batch: int | None) -> dict[str, Difference]:
    """The largest difference in each output between the model and `run`, the written file, on random images.

    The reference normalises bytes as evaluation does, so that the normalisation inside the file is checked too. Raises
    `UserError` if the model's own outputs are not finite.
    """
    names, draws = deployed.output_names, torch.Generator().manual_seed(0)
    exact = copy.deepcopy(deployed).double()
    largest = dict.fromkeys(names, 0.0)
    scale = {"logits": 0.0, "rectangle": float(deployed.side), "probabilities": 1.0}
    for count in BATCHES if batch is None else (batch, batch):
        images = determined_images(deployed, exact, count, draws)
        expected, outputs = eager_outputs(deployed, images), run(images.float() / 255)
        scale["logits"] = max(scale["logits"], expected[0].abs().max().item())
        for name, output, truth in zip(names, outputs, expected, strict=True):
            difference = distances(name, output, truth).max().item()
            largest[name] = max(largest[name], difference if math.isfinite(difference) else math.inf)
    return {name: Difference(largest[name], scale[name] or 1.0) for name in names}


def determined_images(
    deployed: DeployedModel, exact: DeployedModel, count: int, draws: torch.Generator, rounds: int = 16
) -> Tensor:
    """`count` random images on which the model's outputs do not hinge on rounding.

    The moments of a round map have no direction, so float32 and float64 may turn its rectangle differently and there
    is nothing to compare. Such an image is replaced by another draw, for at most `rounds` rounds.
    """
    steady, unsteady = [], []
    for _ in range(rounds):
        images = random_images(count, deployed.side, draws)
        with torch.no_grad():
            truth = exact(images.double() / 255)
        agrees = torch.ones(count, dtype=torch.bool)
        for name, output, exact_output in zip(
            deployed.output_names, eager_outputs(deployed, images), truth, strict=True
        ):
            scale = deployed.side if name == "rectangle" else exact_output.abs().max().item()
            agrees &= distances(name, output, exact_output) <= TOLERANCE / 10 * scale
        steady += list(images[agrees])
        unsteady += list(images[~agrees])
        if len(steady) >= count:
            break
    return torch.stack((steady + unsteady)[:count])


def random_images(count: int, side: int, draws: torch.Generator) -> Tensor:
    """uint8 images `(count, 3, side, side)` of soft random blobs under noise, whose outputs differ."""
    coarse = torch.rand(count, 3, 6, 6, generator=draws)
    blobs = F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    noise = torch.rand(count, 3, side, side, generator=draws)
    return ((0.8 * blobs + 0.2 * noise).clamp(0, 1) * 255).round().to(torch.uint8)


def eager_outputs(deployed: DeployedModel, images: Tensor) -> tuple[Tensor, ...]:
    """The model's outputs for uint8 images, normalised as in evaluation. Raises `UserError` if they are not finite."""
    with torch.no_grad():
        output = deployed.model(normalise(images, deployed.model, images.device), return_output=True)
    scaled = output.logits if deployed.model.temperature is None else output.logits / deployed.model.temperature
    outputs = tuple(part for part in (output.logits, output.rectangle, scaled.softmax(dim=1)) if part is not None)
    if not all(torch.isfinite(o).all() for o in outputs):
        raise UserError(
            "export-model: the run's model gives values that are not finite. Retrain it with a smaller"
            " train.learning_rate, or choose another run."
        )
    return outputs


def distances(name: str, given: Tensor, expected: Tensor) -> Tensor:
    """Largest absolute difference of one output for each image `(B,)`; infinite if the shapes differ."""
    if given.shape != expected.shape:
        return torch.full((len(expected),), torch.inf)
    if name == "rectangle":
        given, expected = shape_of(given), shape_of(expected)
    return (given - expected).abs().amax(dim=1)


def shape_of(rectangles: Tensor) -> Tensor:
    """Six numbers `(B, 6)` in pixels that are the same for every notation of one rectangle.

    They are its centre and R diag(width, height) Rᵀ with R its rotation: angles π apart agree, and a square's angle,
    which is rounding noise if it comes from moments, does not count. (ours)
    """
    along, across = geometry.axes(rectangles)
    unit_along = along / along.norm(dim=1, keepdim=True).clamp_min(1e-6)
    unit_across = across / across.norm(dim=1, keepdim=True).clamp_min(1e-6)
    spread = torch.einsum("bi,bj->bij", along, unit_along) + torch.einsum("bi,bj->bij", across, unit_across)
    return torch.cat([rectangles[:, :2], spread.flatten(1)], dim=1)
