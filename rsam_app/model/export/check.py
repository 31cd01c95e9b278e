"""Is an exported file the model it was made from? Asked of the written file, on images it has never seen."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rsam_app.geometry import rectangles as geometry
from rsam_app.model.export.wrapper import DeployedModel
from rsam_app.model.preprocess import normalise
from rsam_app.system.errors import UserError

TOLERANCE = 1e-4
"""Largest difference from the eager model, as a share of the output's scale."""

BATCHES = (1, 2, 5)
"""Numbers of images a file for any number is asked about."""

Run = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Difference:
    """How far a file is from the eager model in one output: `largest` in the output's unit, `relative` to `scale`.

    The scale of logits is their largest absolute value, that of a rectangle the input's side.
    """

    largest: float
    scale: float

    @property
    def relative(self) -> float:
        """`largest / scale`; 0 where there is no difference at all."""
        return self.largest / self.scale if self.largest else 0.0


def compare(deployed: DeployedModel, run: Run, batch: int | None) -> dict[str, Difference]:
    """The largest difference in each output between `run`, the written file, and the model, on random images.

    The reference takes bytes the way evaluation does, so that the normalisation inside the file is checked too. Raises
    `UserError` where the model's own outputs are not finite.
    """
    names, draws = deployed.output_names, torch.Generator().manual_seed(0)
    exact = copy.deepcopy(deployed).double()
    largest, scale = dict.fromkeys(names, 0.0), {"logits": 0.0, "rectangle": float(deployed.side)}
    for count in BATCHES if batch is None else (batch, batch):
        images = determined_images(deployed, exact, count, draws)
        expected, given = eager_outputs(deployed, images), run(images.float() / 255)
        scale["logits"] = max(scale["logits"], expected[0].abs().max().item())
        for name, theirs, ours in zip(names, given, expected, strict=True):
            furthest = distances(name, theirs, ours).max().item()
            largest[name] = max(largest[name], furthest if math.isfinite(furthest) else math.inf)
    return {name: Difference(largest[name], scale[name] or 1.0) for name in names}


def determined_images(
    deployed: DeployedModel, exact: DeployedModel, count: int, draws: torch.Generator, most: int = 16
) -> Tensor:
    """`count` random images on which the model's answer is its own and not its rounding's.

    Where a map is round its moments have no direction, and float32 and float64 turn the rectangle anyhow: nothing could
    be compared. Such an image is drawn again, `most` times as many as wanted at the most; then it is taken as it is.
    """
    kept, left_out = [], []
    for _ in range(most):
        images = random_images(count, deployed.side, draws)
        with torch.no_grad():
            truth = exact(images.double() / 255)
        steady = torch.ones(count, dtype=torch.bool)
        for name, ours, true in zip(deployed.output_names, eager_outputs(deployed, images), truth, strict=True):
            scale = deployed.side if name == "rectangle" else true.abs().max().item()
            steady &= distances(name, ours, true) <= TOLERANCE / 10 * scale
        kept += list(images[steady])
        left_out += list(images[~steady])
        if len(kept) >= count:
            break
    return torch.stack((kept + left_out)[:count])


def random_images(count: int, side: int, draws: torch.Generator) -> Tensor:
    """uint8 images `(count, 3, side, side)` of soft random blobs under noise, so that outputs differ between them."""
    coarse = torch.rand(count, 3, 6, 6, generator=draws)
    blobs = F.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    noise = torch.rand(count, 3, side, side, generator=draws)
    return ((0.8 * blobs + 0.2 * noise).clamp(0, 1) * 255).round().to(torch.uint8)


def eager_outputs(deployed: DeployedModel, images: Tensor) -> tuple[Tensor, ...]:
    """What the model itself says about uint8 images, normalised as evaluation normalises them."""
    with torch.no_grad():
        output = deployed.model(normalise(images, deployed.model, images.device), return_output=True)
    outputs = (output.logits,) if output.rectangle is None else (output.logits, output.rectangle)
    if not all(torch.isfinite(o).all() for o in outputs):
        raise UserError(
            "export-model: the run's model gives numbers that are not finite. Train it again with a smaller"
            " train.learning_rate, or take another run."
        )
    return outputs


def distances(name: str, given: Tensor, expected: Tensor) -> Tensor:
    """Largest absolute difference of one output for each image `(B,)`; infinite where the shapes differ."""
    if given.shape != expected.shape:
        return torch.full((len(expected),), torch.inf)
    if name == "rectangle":
        given, expected = shape_of(given), shape_of(expected)
    return (given - expected).abs().amax(dim=1)


def shape_of(rectangles: Tensor) -> Tensor:
    """Six numbers `(B, 6)` in pixels that a rectangle has in common with all its other spellings.

    Its centre, and R diag(width, height) Rᵀ with R its rotation: angles π apart are one rectangle, and a square's
    angle, which is rounding noise where it comes from moments, is not asked for. (ours)
    """
    along, across = geometry.axes(rectangles)
    unit_along = along / along.norm(dim=1, keepdim=True).clamp_min(1e-6)
    unit_across = across / across.norm(dim=1, keepdim=True).clamp_min(1e-6)
    spread = torch.einsum("bi,bj->bij", along, unit_along) + torch.einsum("bi,bj->bij", across, unit_across)
    return torch.cat([rectangles[:, :2], spread.flatten(1)], dim=1)
