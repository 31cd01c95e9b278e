"""Use of the rectangle: the prediction with everything outside of it erased, and with its inside erased."""

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
"""Softness of the erased region's edge, a share of the image's side (see `geometry.soft_mask`): a sharp cut would be a
shape to recognise."""
BLUR = 1 / 12
"""Standard deviation of the blur, a share of the image's side: only colour and coarse light remain."""


def mean_colour(images: Tensor) -> Tensor:
    """The mean colour in place of normalised images `(B, 3, H, W)`: zero after normalisation."""
    return torch.zeros_like(images)


def blurred(images: Tensor) -> Tensor:
    """Images `(B, 3, S, S)` after a strong Gaussian blur, its weights renormalised at the border."""
    position = torch.arange(images.shape[3], device=images.device, dtype=torch.float32)
    # A kernel as wide as the image is cheaper as a matrix product than as a convolution.
    weights = torch.softmax(-((position[:, None] - position) ** 2) / (2 * (BLUR * len(position)) ** 2), dim=1)
    return weights @ images.float() @ weights.T


FILLS: dict[str, Callable[[Tensor], Tensor]] = {"mean_colour": mean_colour, "blur": blurred}


def keep(images: Tensor, filled: Tensor, rectangles: Tensor, inside: bool) -> Tensor:
    """Keep of images `(B, 3, H, W)` only the inside of their rectangles `(B, 5)`, in pixels, or only the outside; the
    rest is replaced by `filled` `(B, 3, H, W)`."""
    height, width = images.shape[2:]
    mask = geometry.soft_mask(rectangles.to(images.device), height, width, EDGE * width)[:, None]
    weight = mask if inside else 1 - mask
    return weight * images + (1 - weight) * filled


def use(runner: ModelRunner, subset: Subset, clean: ViewOutputs) -> dict[str, Any]:
    """Share of a prediction that comes from inside and from outside of the rectangle; means over the images, in [0, 1].

    y is the class predicted for the whole image, with mean probability `p_whole`. Per fill of `FILLS`: `p_inside` and
    `p_outside`, the probability of y from the inside, or the outside, of the rectangle alone; `difference`, p_inside -
    p_outside in [-1, 1]: 1 if the model decides by its rectangle alone, 0 if the rectangle does not matter;
    `top1_inside` and `top1_outside`, the remaining accuracies. `fixed_difference` is the `difference` with the mean
    rectangle in every image, which knows only how the photographs are framed.

    Raises `ValueError` for a model without rectangles.
    """
    if not clean.has_rectangles:
        raise ValueError("a model without attention has no rectangle to keep or erase")
    frame = np.full((len(subset), 2), float(subset.size))
    fixed = mean_rectangles(clean.rectangles, frame)
    figures: dict[str, Any] = {"n": len(subset), "p_whole": float(clean.probability_of(clean.predicted).mean())}
    for name in FILLS:
        inside, outside = (_predict_part(runner, subset, clean.rectangles, name, part) for part in (True, False))
        centre, around = (_predict_part(runner, subset, fixed, name, part) for part in (True, False))
        p_inside, p_outside, p_centre, p_around = (
            float(outputs.probability_of(clean.predicted).mean()) for outputs in (inside, outside, centre, around)
        )
        figures[name] = {
            "p_inside": p_inside,
            "p_outside": p_outside,
            "difference": p_inside - p_outside,
            "fixed_difference": p_centre - p_around,
            "top1_inside": inside.accuracy(subset.labels),
            "top1_outside": outside.accuracy(subset.labels),
        }
    return figures


def _predict_part(runner: ModelRunner, subset: Subset, rectangles: Floats, fill: str, inside: bool) -> ViewOutputs:
    def view(rows: slice) -> Tensor:
        images = runner.normalise(subset.images[rows])
        return keep(images, FILLS[fill](images), torch.from_numpy(rectangles[rows]).float(), inside)

    return predict_views(runner, len(subset), view)
