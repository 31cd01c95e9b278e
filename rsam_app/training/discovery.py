"""Target rectangles for training images without any box: from where a pretrained backbone sees an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from rsam_app.attention import geometry
from rsam_app.data.loader import Views, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import ShardedBatches
from rsam_app.model import AttentiveClassifier
from rsam_app.model.precision import autocast
from rsam_app.model.preprocess import normalise
from rsam_app.training.objectness import UPSAMPLE, Objectness, largest_part, learn_objectness

MOST_TO_LEARN_FROM = 2000
SMALLEST, LARGEST = 0.01, 0.9
"""Shares of the image between which a found object is believed."""

TRIM = 0.9
"""A creature's mask tapers, so a rectangle with its moments reaches past it: on birds .85 to .95 of it fits best."""

RectangleTuple = tuple[float, float, float, float, float]


def discover_rectangles(
    model: AttentiveClassifier,
    records: Sequence[Record],
    class_index: Mapping[str, int],
    size: int,
    device: torch.device,
    precision: str,
    workers: int,
    seed: int,
    advance: Callable[[int], object] = lambda images: None,
) -> dict[str, RectangleTuple]:
    """Rectangles in image pixels by record id, found at `size` pixels; images without a believable object have none.

    Learns from at most 2,000 of the images, so that memory does not grow with the data set.
    """
    chosen = np.random.default_rng(seed).permutation(len(records))[:MOST_TO_LEARN_FROM]
    ordered = [records[i] for i in sorted(chosen)] + [
        records[i] for i in sorted(set(range(len(records))) - set(chosen))
    ]
    feature_maps = _feature_maps(model, ordered, class_index, size, device, precision, workers)
    kept: list[Tensor] = []
    found: dict[str, RectangleTuple] = {}
    objectness: Objectness | None = None
    for maps in feature_maps:
        advance(len(maps))
        if objectness is None:
            kept.append(maps.half())
            if sum(map(len, kept)) < len(chosen):
                continue
            everything = torch.cat(kept)
            objectness = learn_objectness(everything, seed)
            maps, kept = everything, []
        part = ordered[len(found) : len(found) + len(maps)]
        for record, probability in zip(part, objectness.probability(maps).numpy(), strict=True):
            found[record.id] = fit_rectangle(probability, record.width, record.height)
    return {key: value for key, value in found.items() if value[2] > 0}


def fit_rectangle(probability: np.ndarray, width: int, height: int) -> RectangleTuple:
    """The rectangle, in pixels of a `width × height` image, with the moments of the largest part of a probability map
    `(H, W)`, its sides taken by `TRIM`. All zeros where nothing is there, or nearly everything."""
    grid = (probability.shape[1] * UPSAMPLE, probability.shape[0] * UPSAMPLE)
    mask = largest_part(cv2.resize(probability.astype(np.float32), grid) > 0.5)
    if not SMALLEST <= mask.mean() <= LARGEST:
        return (0.0, 0.0, 0.0, 0.0, 0.0)
    on_grid = geometry.from_moments(torch.from_numpy(mask[None].astype(np.float32)))
    on_grid = on_grid * torch.tensor([1, 1, TRIM, TRIM, 1])
    to_image = geometry.scaling(width / grid[0], height / grid[1], on_grid)
    cx, cy, w, h, angle = (float(v) for v in geometry.transform(on_grid, to_image)[0])
    return cx, cy, w, h, angle


def _feature_maps(
    model: AttentiveClassifier,
    records: Sequence[Record],
    class_index: Mapping[str, int],
    size: int,
    device: torch.device,
    precision: str,
    workers: int,
) -> Iterator[Tensor]:
    loader = make_loader(Views(records, class_index, size), ShardedBatches(len(records), 32), workers, False)
    model.eval()
    for batch in loader:
        with torch.no_grad(), autocast(precision, device):
            maps = _last_stage(model, normalise(batch["image"], model, device))
        yield maps.float().cpu()


def _last_stage(model: AttentiveClassifier, images: Tensor) -> Tensor:
    """The last stage before a widening head convolution, which mixes object and surroundings, where there is one."""
    backbone = model.backbone
    if not hasattr(backbone, "forward_intermediates"):
        return model.forward_features(images)
    stages: list[Tensor] = backbone.forward_intermediates(images, indices=1, intermediates_only=True)
    return stages[-1]
