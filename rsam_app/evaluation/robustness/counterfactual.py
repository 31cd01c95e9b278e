"""Does the model use what it looks at? The image with all but its rectangle wiped out, and with its rectangle wiped
out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.metrics.rectangles import mean_rectangles
from rsam_app.evaluation.robustness.subset import Subset
from rsam_app.evaluation.robustness.view_outputs import ViewOutputs, predict_views
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.types import Floats

EDGE = 0.01
"""Softness of the wiped region's edge, a share of the image's side (see `geometry.soft_mask`), so that the cut itself
is no shape to see."""
BLUR = 1 / 12
"""Standard deviation of the blur, a share of the image's side: what is left is colour and coarse light."""


def mean_colour(images: Tensor) -> Tensor:
    """The dataset's mean colour instead of normalised images `(B, 3, H, W)`: zero after normalisation."""
    return torch.zeros_like(images)


def blurred(images: Tensor) -> Tensor:
    """Images `(B, 3, S, S)` through a strong Gaussian blur, whose weights at the border are those of what is there."""
    place = torch.arange(images.shape[3], device=images.device, dtype=torch.float32)
    # As wide as the image, it is cheaper as a product of matrices than as a convolution.
    weights = torch.softmax(-((place[:, None] - place) ** 2) / (2 * (BLUR * len(place)) ** 2), dim=1)
    return weights @ images.float() @ weights.T


FILLS: dict[str, Callable[[Tensor], Tensor]] = {"mean_colour": mean_colour, "blur": blurred}


def keep(images: Tensor, filled: Tensor, rectangles: Tensor, inside: bool) -> Tensor:
    """Images `(B, 3, H, W)` whose rectangles `(B, 5)`, in pixels, are all that is left (`inside`), or all that is
    gone; `filled` `(B, 3, H, W)` stands for the rest."""
    height, width = images.shape[2:]
    mask = geometry.soft_mask(rectangles.to(images.device), height, width, EDGE * width)[:, None]
    kept = mask if inside else 1 - mask
    return kept * images + (1 - kept) * filled


def use(runner: ModelRunner, subset: Subset, clean: ViewOutputs) -> dict[str, Any]:
    """How much of a prediction is left inside and outside of the rectangle; means over the images, in [0, 1].

    y is the class that the whole image is predicted to be, with mean probability `p_whole`. Per fill of `FILLS`:
    `p_inside` and `p_outside`, the probability of y with the image outside, or inside, of the rectangle wiped out;
    `difference`, p_inside - p_outside in [-1, 1]: 1 is a model that decides by what is in its rectangle alone, 0 one
    whose rectangle says nothing about what it decides by; `top1_inside` and `top1_outside`, the accuracies left.
    `fixed_difference` is the `difference` with the mean rectangle in every image: a rectangle that knows only how the
    photographs are framed.

    Raises `ValueError` for a model without rectangles.
    """
    if np.isnan(clean.rectangles).any():
        raise ValueError("a model without attention has no rectangle to look into")
    frame = np.full((len(subset), 2), float(subset.size))
    fixed = mean_rectangles(clean.rectangles, frame)
    found: dict[str, Any] = {"n": len(subset), "p_whole": float(clean.probability_of(clean.predicted).mean())}
    for name in FILLS:
        inside, outside = (_without(runner, subset, clean.rectangles, name, kept) for kept in (True, False))
        centre, around = (_without(runner, subset, fixed, name, kept) for kept in (True, False))
        p_inside, p_outside, p_centre, p_around = (
            float(looks.probability_of(clean.predicted).mean()) for looks in (inside, outside, centre, around)
        )
        found[name] = {
            "p_inside": p_inside,
            "p_outside": p_outside,
            "difference": p_inside - p_outside,
            "fixed_difference": p_centre - p_around,
            "top1_inside": inside.accuracy(subset.labels),
            "top1_outside": outside.accuracy(subset.labels),
        }
    return found


def _without(runner: ModelRunner, subset: Subset, rectangles: Floats, fill: str, inside: bool) -> ViewOutputs:
    def view(rows: slice) -> Tensor:
        images = runner.normalise(subset.images[rows])
        return keep(images, FILLS[fill](images), torch.from_numpy(rectangles[rows]).float(), inside)

    return predict_views(runner, len(subset), view)
