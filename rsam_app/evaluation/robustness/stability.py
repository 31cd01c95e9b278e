"""Stability of class and rectangle when the image is mirrored, turned, scaled, cropped or recoloured."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import functional as colour_functional

from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.metrics.rectangles import mean_rectangles
from rsam_app.evaluation.robustness.subset import Subset
from rsam_app.evaluation.robustness.view_outputs import ViewOutputs, predict_views
from rsam_app.geometry import rectangles as geometry
from rsam_app.geometry.image_views import GEOMETRIC, warp
from rsam_app.geometry.overlap import rotated_iou, visible_areas
from rsam_app.geometry.types import Floats

BRIGHTNESS, CONTRAST, SATURATION = 1.2, 0.8, 0.7
NEARLY_SQUARE = 0.8
"""Ratio of the sides above which width and height of a rectangle count as interchangeable."""

TRANSFORMS = (*GEOMETRIC, "colour")


def recolour(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalised images `(B, 3, H, W)` with 1.2 × brightness, .8 × contrast and .7 × saturation, in [0, 1] RGB."""
    rgb = (images * std + mean).clamp(0, 1)
    brighter = colour_functional.adjust_brightness(rgb, BRIGHTNESS)
    flatter = colour_functional.adjust_contrast(brighter, CONTRAST)
    paler: Tensor = colour_functional.adjust_saturation(flatter, SATURATION)
    return (paler - mean) / std


def angle_errors(first: Floats, second: Floats) -> Floats:
    """Differences `(N,)`, radians in [0, π/2], between the angles of rectangles `(N, 5)`: modulo π, and modulo π/2 if
    `first` is nearly square, because width and height are then interchangeable."""
    sides = np.sort(first[:, 2:4], axis=1)
    period = np.where(sides[:, 0] > NEARLY_SQUARE * sides[:, 1], np.pi / 2, np.pi)
    difference = np.abs(first[:, 4] - second[:, 4]) % period
    return np.asarray(np.minimum(difference, period - difference))


def stability(runner: ModelRunner, subset: Subset, clean: ViewOutputs) -> dict[str, Any]:
    """Agreement of the outputs for transformed images with the `clean` ones; means over the images.

    Per transform T of `TRANSFORMS`, and as means over them: `same_class`, the share of images that keep their predicted
    class, and `top1`; with attention `rotated_iou` of T⁻¹R(Tx) with R(x), its `angle_error` (radians, see
    `angle_errors`), `fixed_rotated_iou`, the same for the mean rectangle in every image, and `in_frame`, the share of
    R(x) that T leaves in the frame and that can thus be found again.
    """
    by_transform = {name: _agreement(runner, subset, clean, name) for name in TRANSFORMS}
    keys = next(iter(by_transform.values()))
    return {
        "n": len(subset),
        **{key: float(np.mean([entry[key] for entry in by_transform.values()])) for key in keys},
        "by_transform": by_transform,
    }


def _agreement(runner: ModelRunner, subset: Subset, clean: ViewOutputs, name: str) -> dict[str, float]:
    to_view = GEOMETRIC[name](subset.size) if name in GEOMETRIC else torch.eye(2, 3)[None]

    def view(rows: slice) -> Tensor:
        images = runner.normalise(subset.images[rows])
        if name in GEOMETRIC:
            return warp(images, to_view)
        cfg = runner.model.pretrained_cfg
        mean, std = (torch.tensor(cfg[key], device=images.device).view(3, 1, 1) for key in ("mean", "std"))
        return recolour(images, mean, std)

    viewed = predict_views(runner, len(subset), view)
    figures = {
        "same_class": float((viewed.predicted == clean.predicted).mean()),
        "top1": viewed.accuracy(subset.labels),
    }
    if not clean.has_rectangles:
        return figures
    return figures | _rectangle_agreement(viewed.rectangles, clean.rectangles, to_view.double(), subset.size)


def _rectangle_agreement(viewed: Floats, clean: Floats, to_view: Tensor, size: int) -> dict[str, float]:
    frame = np.full((len(clean), 2), float(size))
    back = geometry.invert(to_view)
    returned, fixed = transformed(viewed, back), mean_rectangles(clean, frame)
    moved = transformed(clean, to_view)
    # Share of each rectangle's area inside the frame.
    inside = visible_areas(moved, frame) * size**2 / np.maximum(moved[:, 2] * moved[:, 3], 1e-9)
    before = visible_areas(clean, frame) * size**2 / np.maximum(clean[:, 2] * clean[:, 3], 1e-9)
    return {
        "rotated_iou": float(rotated_iou(clean, returned).mean()),
        "angle_error": float(angle_errors(clean, returned).mean()),
        "fixed_rotated_iou": float(rotated_iou(fixed, transformed(fixed, back)).mean()),
        "in_frame": float(np.clip(inside / np.maximum(before, 1e-9), 0, 1).mean()),
    }


def transformed(rectangles: Floats, affine: Tensor) -> Floats:
    """Rectangles `(N, 5)` after one affine map `(1, 2, 3)`."""
    moved = geometry.transform(torch.from_numpy(rectangles), affine.expand(len(rectangles), 2, 3))
    return np.asarray(moved.numpy())
