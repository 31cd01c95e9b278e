"""Batches of sample indices: a function of seed and epoch alone, divided equally among the processes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

Draw = tuple[int, int]
"""Epoch and sample index. The epoch is part of it because loading workers outlive an epoch."""


class EpochBatches(Sampler[list[Draw]]):
    """Shuffled batches of an epoch. Every process draws the same permutation and takes its share of each batch.

    `batch_size` counts all processes together, so the samples of a batch do not depend on their number. With `chances`
    `(samples,)`, which add up to 1, an epoch draws as many samples with replacement.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        chances: np.ndarray | None = None,
    ) -> None:
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.rank, self.processes, self.chances = rank, processes, chances
        self.epoch, self.start = 0, 0

    def set_position(self, epoch: int, start: int = 0) -> None:
        """Continue with batch `start` of `epoch`, both from 0; earlier batches cost nothing."""
        self.epoch, self.start = epoch, start

    def order(self, epoch: int) -> np.ndarray:
        """Return the permutation `(samples,)` of an epoch, or with `chances` the samples drawn for it."""
        draws = np.random.default_rng((self.seed, epoch))
        if self.chances is None:
            return draws.permutation(self.samples)
        drawn: np.ndarray = draws.choice(self.samples, size=self.samples, p=self.chances)
        return drawn

    @property
    def sizes(self) -> list[int]:
        """Samples per batch over all processes. A last batch with fewer samples than processes is left out."""
        full = [self.batch_size] * (self.samples // self.batch_size)
        rest = self.samples % self.batch_size
        return [*full, rest] if rest >= max(1, self.processes) else full

    def __len__(self) -> int:
        return len(self.sizes) - self.start

    def __iter__(self) -> Iterator[list[Draw]]:
        order, epoch = self.order(self.epoch), self.epoch
        for batch, size in enumerate(self.sizes):
            if batch >= self.start:
                whole = order[batch * self.batch_size : batch * self.batch_size + size]
                yield [(epoch, int(i)) for i in np.array_split(whole, self.processes)[self.rank]]


class ShardedBatches(Sampler[list[Draw]]):
    """Every sample once, in order. Whole batches go to the processes in turn.

    So a batch, and its result to the last bit, does not depend on the number of processes.
    """

    def __init__(self, samples: int, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        self.samples, self.batch_size, self.rank, self.processes = samples, batch_size, rank, processes

    def __len__(self) -> int:
        batches = math.ceil(self.samples / self.batch_size)
        return len(range(self.rank, batches, self.processes))

    def __iter__(self) -> Iterator[list[Draw]]:
        step = self.batch_size * self.processes
        for first in range(self.rank * self.batch_size, self.samples, step):
            yield [(0, i) for i in range(first, min(first + self.batch_size, self.samples))]
