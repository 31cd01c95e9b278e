"""Run a model on records: each exactly once, bit-identical for any number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor, distributed

from rsam_app.data.loader import Batch
from rsam_app.data.records import Record
from rsam_app.evaluation.inference.model_runner import ModelRunner
from rsam_app.evaluation.scores.instability import instability, returned_rectangles
from rsam_app.evaluation.scores.outside_activation import outside_activation
from rsam_app.geometry import rectangles as geometry
from rsam_app.model import AttentiveClassifier, Inspection
from rsam_app.system.errors import UserError


@dataclass(frozen=True)
class Outputs:
    """Arrays in record order, float32 if not noted: `logits` `(N, C)`, `embeddings` `(N, D)`; with attention `inside`
    and `outside` logits `(N, C)` and `rectangles` `(N, 5)` in image pixels; with views the scores `instability` and
    `outside_activation` `(N,)`. NaN without."""

    logits: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    rectangles: np.ndarray
    embeddings: np.ndarray
    instability: np.ndarray
    outside_activation: np.ndarray
    masks: np.ndarray | None = None
    """Soft masks `(N, h, w)` on the feature map, uint8 from 0 to 255, on request and with attention."""


def run_model(
    runner: ModelRunner, records: Sequence[Record], views: int | None = None, soft_masks: bool = False
) -> Outputs:
    """Return the outputs for whole images. Progress counts the images of all processes.

    With `views` also compute the scores that need the model, `instability` from that many further views of each image.
    Every process must call it, and every process gets the whole result. Raises `UserError` without records.
    """
    if not records:
        raise UserError("nothing to predict: the split has no images. Check the card's splits.")
    rank, processes = 0, 1
    if distributed.is_available() and distributed.is_initialized():
        rank, processes = distributed.get_rank(), distributed.get_world_size()
    counting_all = replace(runner, advance=lambda images: runner.advance(images * processes))
    compute = partial(_inspect, runner, views=views, soft_masks=soft_masks)
    parts = counting_all.run(runner.whole_images(records, rank, processes), compute)
    return _in_order(gather_object(parts) if processes > 1 else parts, len(records))


def _inspect(
    runner: ModelRunner, images: Tensor, batch: Batch, views: int | None, soft_masks: bool
) -> dict[str, np.ndarray]:
    unknown = torch.full((len(images),), torch.nan)
    arrays = {"instability": unknown, "outside_activation": unknown}
    with runner.autocast():
        inspection = runner.model.inspect(images)
        if views is not None and inspection.output.rectangle is not None:
            arrays = _with_views(runner.model, images, inspection, views)
    missing = torch.full_like(inspection.output.logits, torch.nan)
    rectangle = torch.full((len(images), 5), torch.nan)
    if inspection.output.rectangle is not None:
        rectangle = geometry.transform(inspection.output.rectangle.cpu(), batch["to_image"])
    arrays |= {
        "logits": inspection.output.logits,
        "inside": missing if inspection.inside_logits is None else inspection.inside_logits,
        "outside": missing if inspection.outside_logits is None else inspection.outside_logits,
        "rectangles": rectangle,
        "embeddings": inspection.embedding,
    }
    outputs = {name: values.float().cpu().numpy() for name, values in arrays.items()}
    if soft_masks and inspection.output.mask is not None:
        outputs["masks"] = (inspection.output.mask.float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return outputs | {"index": batch["index"].numpy()}


def _with_views(model: AttentiveClassifier, images: Tensor, inspection: Inspection, views: int) -> dict[str, Tensor]:
    rectangle, mask, features = inspection.output.rectangle, inspection.output.mask, inspection.features
    if rectangle is None or mask is None or features is None:
        raise ValueError("a model without attention has no rectangle to score")
    class_map = model.class_map(features, inspection.output.logits.argmax(dim=1))
    returned = returned_rectangles(model, images, views)
    return {
        "instability": instability(rectangle.float().cpu(), returned),
        "outside_activation": outside_activation(class_map, mask),
    }


def _in_order(parts: list[dict[str, np.ndarray]], expected: int) -> Outputs:
    index = np.concatenate([p["index"] for p in parts])
    order = np.argsort(index, kind="stable")
    if not np.array_equal(index[order], np.arange(expected)):
        raise RuntimeError(f"{len(index)} outputs for {expected} records: some were lost or repeated")
    joined = {name: np.concatenate([p[name] for p in parts])[order] for name in parts[0] if name != "index"}
    return Outputs(**joined)
