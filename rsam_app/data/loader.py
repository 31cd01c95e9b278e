"""Batches: images as uint8 network inputs, their labels, and where their rectangles should be."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rsam_app.attention import geometry
from rsam_app.data.augment import TrainAugment, whole_image
from rsam_app.data.images import read_image
from rsam_app.data.records import Record
from rsam_app.data.sampling import Draw
from rsam_app.data.visible import visible_part
from rsam_app.hardware import available_cores

Target = tuple[tuple[float, float, float, float, float], float]
"""A rectangle in image pixels and the weight of its loss."""


class Batch(TypedDict):
    """`image` `(B, 3, S, S)` uint8, `label` and `index` `(B,)`, `to_image` `(B, 2, 3)` from input to image pixels,
    `target` `(B, 5)` in input pixels with `target_weight` `(B,)`, zero where there is none."""

    image: Tensor
    label: Tensor
    index: Tensor
    to_image: Tensor
    target: Tensor
    target_weight: Tensor


class Views(Dataset[Batch]):
    """Records as network inputs: random views with an `augment`, else whole images."""

    def __init__(
        self,
        records: Sequence[Record],
        class_index: Mapping[str, int],
        size: int,
        augment: TrainAugment | None = None,
        targets: Mapping[str, Target] | None = None,
        seed: int = 0,
    ) -> None:
        self.records, self.class_index, self.size = records, class_index, size
        self.augment, self.targets, self.seed = augment, targets or {}, seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: Draw) -> Batch:
        epoch, index = draw
        record = self.records[index]
        image, displayed = read_image(record.path, at_least=self.size, banner=record.banner)
        if self.augment:
            view, to_image = self.augment(image, displayed, (self.seed, epoch, index))
        else:
            view, to_image = whole_image(image, self.size, displayed)
        target, weight = self.target_in_view(self.targets.get(record.id), to_image, self.size)
        return Batch(
            image=torch.from_numpy(np.ascontiguousarray(view)).permute(2, 0, 1),
            label=torch.tensor(self.class_index[record.label]),
            index=torch.tensor(index),
            to_image=torch.from_numpy(to_image),
            target=target,
            target_weight=torch.tensor(weight),
        )

    @staticmethod
    def target_in_view(target: Target | None, to_image: np.ndarray, size: int) -> tuple[Tensor, float]:
        """A target as a view of `size` pixels shows it, `(5,)` in the view's pixels, and its weight there; zeros
        without one. `to_image` `(2, 3)` leads from the view's pixels to the image's."""
        if target is None:
            return torch.zeros(5), 0.0
        rectangle, weight = target
        to_view = geometry.invert(torch.from_numpy(to_image)[None])
        carried = geometry.transform(torch.tensor([rectangle]), to_view)[0]
        visible, share = visible_part(carried, size, size)
        return visible, weight * share


def make_loader(views: Views, batches: Sampler[list[Draw]], workers: int, pin_memory: bool) -> DataLoader[Batch]:
    """A loader whose workers outlive the epoch and keep to one thread each."""
    return DataLoader(
        views,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=_one_thread,
    )


def loading_processes(asked: int | str, processes: int) -> int:
    """The number of loading processes per training process; `auto` leaves one core to each training process."""
    if isinstance(asked, int):
        return asked
    return max(0, min(8, available_cores() // max(1, processes) - 1))


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)  # otherwise every worker starts as many threads as there are cores
    torch.set_num_threads(1)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the main process ends the run in order
