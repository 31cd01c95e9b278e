"""A part of a split, chosen evenly over the classes and decoded once for many evaluations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rsam_app.data.augmentation.random_view import whole_image
from rsam_app.data.images.decoding import read_image
from rsam_app.data.records import Record
from rsam_app.geometry.types import Integers, Pixels


@dataclass(frozen=True)
class Subset:
    """Records with their class indices `(N,)` and their images as network inputs, `(N, S, S, 3)` uint8 RGB."""

    records: tuple[Record, ...]
    labels: Integers
    images: Pixels

    def __len__(self) -> int:
        return len(self.records)

    @property
    def size(self) -> int:
        """The side of the network input, pixels."""
        return int(self.images.shape[1])


def choose_evenly(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """Choose at most `count` records, in their order, each class in proportion to its size up to rounding.

    Systematic sampling within strata: the r-th of a class's n shuffled records has the key (r + u) / n, with one u in
    [0, 1) per class, and the smallest keys are taken. Accuracy on them estimates that on all records. The same seed
    gives the same records.
    """
    rng = np.random.default_rng((seed, 1))
    rows: dict[str, list[int]] = defaultdict(list)
    for row, record in enumerate(records):
        rows[record.label].append(row)
    keys = np.empty(len(records))
    for label in sorted(rows):
        keys[rng.permutation(rows[label])] = (np.arange(len(rows[label])) + rng.random()) / len(rows[label])
    return [records[int(row)] for row in sorted(np.argsort(keys, kind="stable")[:count])]


def load_subset(
    records: Sequence[Record], class_index: Mapping[str, int], size: int, count: int | None = None, seed: int = 0
) -> Subset:
    """Load `count` chosen `records` (None: all) as network inputs of side `size`.

    Raises `UserError` if an image cannot be read.
    """
    chosen = list(records) if count is None else choose_evenly(records, count, seed)
    images = [network_input(record, size) for record in chosen]
    return Subset(
        records=tuple(chosen),
        labels=np.array([class_index[r.label] for r in chosen], dtype=np.int64),
        images=np.stack(images) if images else np.zeros((0, size, size, 3), dtype=np.uint8),
    )


def network_input(record: Record, size: int) -> Pixels:
    """A record's whole image `(size, size, 3)` as evaluation feeds it to the network. Raises `UserError`."""
    pixels, displayed = read_image(record.path, side=size, banner=record.banner)
    return np.ascontiguousarray(whole_image(pixels, size, displayed)[0])
