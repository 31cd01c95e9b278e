"""Pooled features of crops along rectangles, on their own surroundings or on those of other images."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from rsam_app.evaluation.inference.model_runner import all_cores
from rsam_app.geometry.overlap import upright_edges
from rsam_app.model import AttentiveClassifier
from rsam_app.model.attention.second_look import CONTEXT
from rsam_app.model.preprocess import normalise
from rsam_app.system.precision import autocast
from rsam_app.training.features.source import FeatureSource

SIDE, BATCH = 224, 32
SMALLEST = 0.1
"""Smallest crop, as a share of the image's side."""

Array = np.ndarray


def crops(images: Array, edges: Array, context: float = CONTEXT) -> Array:
    """Crops `(N, SIDE, SIDE, 3)` of images `(N, S, S, 3)` around boxes `(N, 4)`, edges as shares of the sides."""
    return np.stack([_crop(image, box, context) for image, box in zip(images, edges, strict=True)])


def exchanged(images: Array, edges: Array, draws: np.random.Generator) -> Array:
    """The images with the content of their boxes, at its place, on other images, which otherwise stay as they are."""
    grounds = images[draws.permutation(len(images))]
    mixed = grounds.copy()
    for row, box in enumerate(edges):
        inside = _slices(box, images.shape[1])
        mixed[row][inside] = images[row][inside]
    return mixed


def pooled(source: FeatureSource, images: Array) -> Array:
    """Features `(N, D)` of images `(N, SIDE, SIDE, 3)` before the classifier."""
    model: AttentiveClassifier = source.model.eval()
    parts = []
    with torch.inference_mode(), all_cores():
        for begin in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[begin : begin + BATCH]).permute(0, 3, 1, 2)
            with autocast(source.precision, source.device):
                features = model.forward_features(normalise(batch, model, source.device))
                parts.append(model.forward_head(features, pre_logits=True).float().cpu().numpy())
    return np.concatenate(parts)


def shrunk(images: Array) -> Array:
    """Whole images at the network's side."""
    return np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in images])


def _crop(image: Array, box: Array, context: float) -> Array:
    centre, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) * context, SMALLEST) / 2
    cut = image[_slices(np.clip(np.concatenate([centre - half, centre + half]), 0, 1), len(image))]
    return cv2.resize(
        cut, (SIDE, SIDE), interpolation=cv2.INTER_AREA if min(cut.shape[:2]) > SIDE else cv2.INTER_LINEAR
    )


def _slices(box: Array, side: int) -> tuple[slice, slice]:
    left, top = np.floor(box[:2] * side).astype(int).tolist()
    right, bottom = np.ceil(box[2:] * side).astype(int).tolist()
    return slice(top, max(bottom, top + 4)), slice(left, max(right, left + 4))


def found_edges(rectangles: Sequence[Array | None], sizes: Array) -> Array:
    """Upright boxes `(N, 4)` of rectangles, as shares of the images' sides `(N, 2)`; the whole image without one."""
    whole = [(w / 2, h / 2, w, h, 0.0) if r is None else r for r, (w, h) in zip(rectangles, sizes, strict=True)]
    edges: Array = upright_edges(np.array(whole, dtype=np.float64), sizes) / np.concatenate([sizes, sizes], axis=1)
    return edges
