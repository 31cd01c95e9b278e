"""The batch loop that every inference shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from rsam_app.data.loader import Batch, Views, loading_processes, make_loader
from rsam_app.data.records import Record
from rsam_app.data.sampling import ShardedBatches
from rsam_app.geometry.types import Pixels
from rsam_app.model import AttentiveClassifier
from rsam_app.model.preprocess import normalise
from rsam_app.system.hardware import available_cores
from rsam_app.system.precision import autocast

B = TypeVar("B")
R = TypeVar("R")


@dataclass(frozen=True)
class ModelRunner:
    """A model on its device, with the precision, batch size and loading processes to run it with.

    `workers` is a number or `auto`. `advance` is called with the number of images after each batch.
    """

    model: AttentiveClassifier
    device: torch.device
    precision: str = "float32"
    batch_size: int = 64
    workers: int | str = 0
    advance: Callable[[int], object] = lambda images: None

    @property
    def side(self) -> int:
        """Side of the network input, pixels."""
        return int(self.model.pretrained_cfg["input_size"][-1])

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in the runner's precision."""
        return autocast(self.precision, self.device)

    def normalise(self, images: Pixels) -> Tensor:
        """uint8 images `(B, S, S, 3)` as normalised network inputs `(B, 3, S, S)` on the device."""
        return normalise(torch.from_numpy(images).permute(0, 3, 1, 2), self.model, self.device)

    def whole_images(
        self, records: Sequence[Record], rank: int = 0, processes: int = 1
    ) -> Iterator[tuple[Tensor, Batch]]:
        """Yield batches of whole images in record order: normalised inputs `(B, 3, S, S)` on the device, and the
        loader's batch, whose labels are not set. Several processes get whole batches in turn."""
        batches = ShardedBatches(len(records), self.batch_size, rank, processes)
        workers = loading_processes(self.workers, processes) if len(batches) else 0
        views = Views(records, dict.fromkeys((record.label for record in records), 0), self.side)
        for batch in make_loader(views, batches, workers, self.device.type == "cuda"):
            yield normalise(batch["image"], self.model, self.device), batch

    def run(
        self, batches: Iterable[tuple[Tensor, B]], compute: Callable[[Tensor, B], R], gradients: bool = False
    ) -> list[R]:
        """Return `compute(images, batch)` for each batch, with the model in evaluation mode and on every core.

        `compute` chooses itself what runs under `autocast`; with `gradients` it may differentiate.
        """
        results = []
        training = self.model.training
        self.model.eval()
        with torch.inference_mode(not gradients), all_cores():
            for images, batch in batches:
                results.append(compute(images, batch))
                self.advance(len(images))
        self.model.train(training)
        return results


@contextmanager
def all_cores() -> Iterator[None]:
    """Use every available core for inference on the CPU.

    With another number of threads a convolution sums in another order, and results would differ in the last bit
    between one process and several.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(available_cores())
    try:
        yield
    finally:
        torch.set_num_threads(threads)
