"""A model's outputs for records, each exactly once, the same to the last bit whatever the number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from rsam_app.data.loader import Views, loading_processes, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import ShardedBatches
from rsam_app.evaluation.scores.instability import instability, returned_rectangles
from rsam_app.evaluation.scores.outside_activation import outside_activation
from rsam_app.geometry import rectangles as geometry
from rsam_app.model import AttentiveClassifier, Inspection
from rsam_app.model.preprocess import normalise
from rsam_app.system.errors import UserError
from rsam_app.system.hardware import available_cores
from rsam_app.system.precision import autocast


@dataclass(frozen=True)
class Outputs:
    """Arrays in the order of the records: `logits` `(N, C)` and, with attention, `inside` and `outside` logits `(N, C)`
    and `rectangles` `(N, 5)` in image pixels; `embeddings` `(N, D)`. Where they were asked for, `instability` and
    `outside_activation` `(N,)`, the scores of these names. float32; NaN where there is no attention, or not asked."""

    logits: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    rectangles: np.ndarray
    embeddings: np.ndarray
    instability: np.ndarray
    outside_activation: np.ndarray
    masks: np.ndarray | None = None
    """Soft masks `(N, h, w)` on the feature map, uint8 from 0 to 255, where asked for and there is attention."""


def run_model(
    model: AttentiveClassifier,
    records: Sequence[Record],
    class_index: Mapping[str, int],
    batch_size: int,
    accelerator: Accelerator,
    precision: str,
    workers: int | str = "auto",
    advance: Callable[[int], object] = lambda images: None,
    views: int | None = None,
    soft_masks: bool = False,
) -> Outputs:
    """Outputs of `model` for whole images. `advance` is told how many images all processes finished.

    With `views` the scores that need the model are computed too, `instability` over so many further looks at each
    image. Every process must call it; every process gets the whole result. Raises `UserError` without records.
    """
    if not records:
        raise UserError("nothing to predict: the split has no images. Check the card's splits.")
    size = int(model.pretrained_cfg["input_size"][-1])
    batches = ShardedBatches(len(records), batch_size, accelerator.process_index, accelerator.num_processes)
    count = loading_processes(workers, accelerator.num_processes) if len(batches) else 0
    loader = make_loader(Views(records, class_index, size), batches, count, accelerator.device.type == "cuda")
    training = model.training
    model.eval()
    parts: list[dict[str, np.ndarray]] = []
    with torch.inference_mode(), all_cores():
        for batch in loader:
            parts.append(_inspect(model, batch["image"], batch["to_image"], accelerator.device, precision, views))
            if not soft_masks:
                parts[-1].pop("masks", None)
            parts[-1]["index"] = batch["index"].numpy()
            advance(len(batch["index"]) * accelerator.num_processes)
    model.train(training)
    everything = gather_object(parts) if accelerator.num_processes > 1 else parts
    return _in_order(everything, len(records))


@contextmanager
def all_cores() -> Iterator[None]:
    """Inference on the CPU runs on every core that this process may use: with another number of threads a convolution
    sums in another order, and two processes would not agree with one in the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(available_cores())
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _inspect(
    model: AttentiveClassifier,
    images: torch.Tensor,
    to_image: torch.Tensor,
    device: torch.device,
    precision: str,
    views: int | None,
) -> dict[str, np.ndarray]:
    unknown = torch.full((len(images),), torch.nan)
    arrays = {"instability": unknown, "outside_activation": unknown}
    with autocast(precision, device):
        shown = normalise(images, model, device)
        seen = model.inspect(shown)
        if views is not None and seen.output.rectangle is not None:
            arrays = _with_views(model, shown, seen, views)
    nothing = torch.full_like(seen.output.logits, torch.nan)
    rectangle = torch.full((len(images), 5), torch.nan)
    if seen.output.rectangle is not None:
        rectangle = geometry.transform(seen.output.rectangle.cpu(), to_image)
    arrays |= {
        "logits": seen.output.logits,
        "inside": nothing if seen.inside_logits is None else seen.inside_logits,
        "outside": nothing if seen.outside_logits is None else seen.outside_logits,
        "rectangles": rectangle,
        "embeddings": seen.embedding,
    }
    found = {name: values.float().cpu().numpy() for name, values in arrays.items()}
    if seen.output.mask is not None:
        found["masks"] = (seen.output.mask.float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    return found


def _with_views(
    model: AttentiveClassifier, images: torch.Tensor, seen: Inspection, views: int
) -> dict[str, torch.Tensor]:
    rectangle, mask, features = seen.output.rectangle, seen.output.mask, seen.features
    if rectangle is None or mask is None or features is None:
        raise ValueError("a model without attention has no rectangle to judge")
    class_map = model.class_map(features, seen.output.logits.argmax(dim=1))
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
