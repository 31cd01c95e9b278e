"""Batches: images as uint8 network inputs, with their labels and target rectangles."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from typing import Any, TypedDict, cast
from weakref import WeakSet

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rsam_app.data.augmentation.random_view import TrainAugment, whole_image
from rsam_app.data.augmentation.surroundings import exchange_surroundings
from rsam_app.data.images.cache import reader_for
from rsam_app.data.records import Record, class_number
from rsam_app.data.sampling import Draw
from rsam_app.geometry.clipping import rectangle_in_view
from rsam_app.geometry.types import Rectangle
from rsam_app.system.hardware import available_cores
from rsam_app.system.stop_signals import stop_signals

Target = tuple[Rectangle, float]
"""A rectangle in image pixels and the weight of its loss."""


class Batch(TypedDict):
    """`image` `(B, 3, S, S)` uint8, `label` and `index` `(B,)`, `to_image` `(B, 2, 3)` from input to image pixels,
    `target` `(B, 5)` in input pixels with `target_weight` `(B,)`; both are 0 without a target."""

    image: Tensor
    label: Tensor
    index: Tensor
    to_image: Tensor
    target: Tensor
    target_weight: Tensor


CUT_OFF = 0.4
"""Share of a target that a view may cut off and still show the object."""


class Views(Dataset[Batch]):
    """Records as network inputs: random views with an `augment`, otherwise whole images.

    A share `exchanged` of those with a target get the surroundings of another image.
    """

    def __init__(
        self,
        records: Sequence[Record],
        class_index: Mapping[str, int],
        size: int,
        augment: TrainAugment | None = None,
        targets: Mapping[str, Target] | None = None,
        seed: int = 0,
        exchanged: float = 0.0,
    ) -> None:
        self.records, self.class_index, self.size = records, class_index, size
        self.augment, self.targets, self.seed, self.exchanged = augment, targets or {}, seed, exchanged
        self.read = reader_for(size)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: Draw) -> Batch:
        """Return one sample, as a batch without its batch dimension."""
        batch = cast(dict[str, Tensor], self.__getitems__([draw]))
        return cast(Batch, {name: values[0] for name, values in batch.items()})

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        """Return a batch. Its images are channels-last in memory, as they are decoded and as convolutions prefer."""
        count, size = len(draws), self.size
        images = np.empty((count, size, size, 3), np.uint8)
        to_image = np.empty((count, 2, 3), np.float32)
        target, weights = torch.zeros(count, 5), torch.zeros(count)
        for row, (epoch, index) in enumerate(draws):
            images[row], to_image[row], target[row], weights[row] = self._with_target(epoch, index)
            if self.exchanged:
                images[row] = self._on_surroundings(images[row], target[row], float(weights[row]), epoch, index)
        indices = [index for _, index in draws]
        return Batch(
            image=torch.from_numpy(images).permute(0, 3, 1, 2),
            label=torch.tensor([class_number(self.records[index], self.class_index) for index in indices]),
            index=torch.tensor(indices),
            to_image=torch.from_numpy(to_image),
            target=target,
            target_weight=weights,
        )

    def _with_target(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray, Tensor, float]:
        """A view, its map to the image, and the target in it with its weight."""
        record = self.records[index]
        image, to_image = self._view(record, (self.seed, epoch, index))
        return image, to_image, *self.target_in_view(self.targets.get(record.id), to_image, self.size)

    def _on_surroundings(self, view: np.ndarray, target: Tensor, weight: float, epoch: int, index: int) -> np.ndarray:
        """A view on the surroundings of another image, or as it is: by chance, and if it hardly shows its target."""
        draws = np.random.default_rng((self.seed, epoch, index, 1))
        if draws.random() >= self.exchanged or not self.shows_target(index, weight) or len(self) < 2:
            return view
        donor = (index + int(draws.integers(1, len(self)))) % len(self)
        other, _, hidden, shown = self._with_target(epoch, donor)
        return exchange_surroundings(view, target, other, hidden if shown else None)

    def shows_target(self, index: int, weight: float) -> bool:
        """Whether a view of this image, in which its target has this weight, shows most of the target."""
        full = self.targets[self.records[index].id][1] if self.records[index].id in self.targets else 0.0
        return weight > (1 - CUT_OFF) * full

    def _view(self, record: Record, seed: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        image, displayed = self.read(record)
        return self.augment(image, displayed, seed) if self.augment else whole_image(image, self.size, displayed)

    @staticmethod
    def target_in_view(target: Target | None, to_image: np.ndarray, size: int) -> tuple[Tensor, float]:
        """Return the visible part `(5,)` of a target in a view of `size` pixels, and its weight; without one, zeros.

        `to_image` `(2, 3)` maps the view's pixels to the image's.
        """
        if target is None:
            return torch.zeros(5), 0.0
        rectangle, weight = target
        visible, share = rectangle_in_view(rectangle, to_image, size)
        return visible, weight * share


def make_loader(views: Views, batches: Sampler[list[Draw]], workers: int, pin_memory: bool) -> DataLoader[Batch]:
    """Return a loader whose workers outlive the epoch and use one thread each."""
    return _Loader(
        views,
        batch_sampler=batches,
        collate_fn=_unchanged,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=_one_thread,
    )


def loading_processes(workers: int | str, processes: int) -> int:
    """Return the number of loading processes per training process; `auto` leaves each training process one core."""
    if isinstance(workers, int):
        return workers
    return max(0, min(8, available_cores() // max(1, processes) - 1))


_workers: WeakSet[BaseProcess] = WeakSet()
os.register_at_fork(after_in_child=_workers.clear)


class _Loader(DataLoader[Batch]):
    """Registers its workers, so that `_end_workers` finds them."""

    def __iter__(self) -> Any:
        batches = super().__iter__()
        _workers.update(getattr(batches, "_workers", ()))
        return batches


@atexit.register
def _end_workers() -> None:
    """Kill the loading processes that are left. Python would send them SIGTERM, which they ignore, and wait forever; so
    would a child that hangs because another thread started or ended during the fork (seen in CPython 3.11)."""
    for worker in list(_workers):
        worker.kill()


def _unchanged(batch: Any) -> Any:
    """`Views` returns whole batches already."""
    return batch


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)  # otherwise every worker starts as many threads as there are cores
    torch.set_num_threads(1)
    # Ctrl-C, or a launcher's SIGTERM, reaches the whole process group; only the training process handles it.
    for number in (signal.SIGINT, *stop_signals()):
        signal.signal(number, signal.SIG_IGN)
