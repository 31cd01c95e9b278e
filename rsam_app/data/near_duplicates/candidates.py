"""Pairs of images that might be one photograph: neighbours by what their thumbnails show coarsely."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from rsam_app.data.near_duplicates.nearest_neighbours import Neighbours
from rsam_app.data.near_duplicates.thumbnails import SIDE, Thumbnails
from rsam_app.system.progress import Progress

WAVES = 8
"""Of the cosine transform along each side, the constant among them: 63 numbers an image."""
CROP = 0.12
"""What the asked windows leave out along each side; a crop of up to some .17 lies near enough to one of them."""
NEAR = 0.8
"""Cosine of descriptors from which on a pair is looked at: those of altered copies are .87 and more."""
EACH = 4
"""Neighbours of each image that are asked for, in each window."""
MOST = 6
"""Pairs of an image that are looked at, the nearest ones."""
_BLOCK = 4096


@dataclass(frozen=True)
class Window:
    """A part of a thumbnail: where it begins, as shares of the sides, and how much of each side it has."""

    left: float
    top: float
    extent: float

    def place(self) -> tuple[float, float, float, float]:
        """The same as a place to register from (`registration.register`)."""
        extent = self.extent
        return extent, 2 * self.left + extent - 1, extent, 2 * self.top + extent - 1


WINDOWS = (
    Window(0, 0, 1),
    *(Window(left, top, 1 - CROP) for left in (0, CROP) for top in (0, CROP)),
    Window(CROP / 2, CROP / 2, 1 - CROP),
)
"""The whole image, and crops of it: with a crop's own window its descriptor is nearly that of the crop."""


@dataclass(frozen=True)
class Candidates:
    """P pairs: `shown` has, about at the window of number `window`, what `other` is, seen in a mirror where
    `mirrored`. Each `(P,)`."""

    shown: np.ndarray
    other: np.ndarray
    window: np.ndarray
    mirrored: np.ndarray


def find_candidates(thumbnails: Thumbnails, rows: np.ndarray, progress: Progress | None = None) -> Candidates:
    """Pairs among some readable rows `(R,)` whose descriptors have a cosine of .8 or more: as they are, mirrored, or
    with a crop taken off the one.

    Each pair comes once, in the window and the way round that fits it best, and of each image the six pairs that fit
    best: those that another image counts among its own come besides.
    """
    units = _units(_descriptors(thumbnails, rows, WINDOWS[0]))
    neighbours = Neighbours(units, probes=6)  # copies lie so near that they are in the first cells
    flips = np.where(np.arange(WAVES) % 2, -1, 1).astype(np.float32)
    mirror = np.tile(flips, (WAVES, 1)).reshape(-1)
    found = []
    for number, window in enumerate(WINDOWS):
        asked = units if number == 0 else _units(_descriptors(thumbnails, rows, window))
        for mirrored in (False, True):
            places, squared = neighbours.search(asked * mirror if mirrored else asked, EACH, np.arange(len(rows)))
            near = (places >= 0) & (squared <= 2 - 2 * NEAR)
            first, _ = np.nonzero(near)
            kind = np.full(len(first), 2 * number + mirrored)
            found.append((squared[near], first, places[near], kind))
            if progress:
                progress(2 * number + mirrored + 1, 2 * len(WINDOWS))
    squared, first, second, kind = (np.concatenate(column) for column in zip(*found, strict=True))
    kept = _best(squared, first, second)
    shown, other, kind = rows[first[kept]], rows[second[kept]], kind[kept]
    return Candidates(shown, other, kind // 2, kind % 2 == 1)


def _best(squared: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The nearest of each pair, either way round, as far as it is among the nearest pairs of one of its images."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((squared, high, low))
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (low[order][1:] == low[order][:-1]) & (high[order][1:] == high[order][:-1])
    once = order[~again]
    wanted = np.zeros(len(once), dtype=bool)
    for side in (low[once], high[once]):
        ranked = np.lexsort((squared[once], side))
        begins = np.r_[True, side[ranked][1:] != side[ranked][:-1]] if len(ranked) else np.zeros(0, dtype=bool)
        start = np.maximum.accumulate(np.where(begins, np.arange(len(ranked)), 0))
        wanted[ranked[np.arange(len(ranked)) - start < MOST]] = True
    return once[wanted]


def _descriptors(thumbnails: Thumbnails, rows: np.ndarray, window: Window) -> np.ndarray:
    """Low frequencies of a window of each thumbnail, `(R, 64)` float32; their length is 64 times its deviation."""
    across = _waves(window.left, window.extent)
    down = _waves(window.top, window.extent)
    weight = np.hypot(*np.mgrid[:WAVES, :WAVES]) ** 0.25
    weight[0, 0] = 0.0  # brightness says nothing
    made = np.empty((len(rows), WAVES * WAVES), dtype=np.float32)
    for begin in range(0, len(rows), _BLOCK):
        block = thumbnails.take(rows[begin : begin + _BLOCK]).astype(np.float32)
        made[begin : begin + _BLOCK] = ((down @ (block @ across.T)) * weight).reshape(len(block), -1)
    return made


def _waves(begin: float, extent: float) -> np.ndarray:
    """The first cosines `(WAVES, 64)` over a part of 64 pixels, each without a share of the constant."""
    edges = np.clip(np.arange(SIDE + 1) / SIDE, begin, begin + extent)
    covered = np.diff(edges) * SIDE
    phase = (np.diff(edges) / 2 + edges[:-1] - begin) / extent
    waves = np.cos(np.pi * np.arange(WAVES)[:, None] * phase) * covered
    waves[1:] -= covered * (waves[1:].sum(axis=1, keepdims=True) / covered.sum())
    scaled: np.ndarray = waves * np.where(np.arange(WAVES) > 0, 2**0.5, 1.0)[:, None] / (extent * SIDE**0.5)
    return scaled.astype(np.float32)


def _units(vectors: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.float32(1e-9))


FLAT = 0.5
"""Standard deviation of grey levels below which an image shows nothing."""


@dataclass(frozen=True)
class Distinct:
    """`rows` `(D,)` of images that show something, the first with each thumbnail; `same` `(N,)`, for each image the
    first with its thumbnail, itself where it is unreadable or shows nothing; how many are `flat`, showing nothing."""

    rows: np.ndarray
    same: np.ndarray
    flat: int


def find_distinct(thumbnails: Thumbnails) -> Distinct:
    """Sort out what needs no comparison."""
    readable = np.flatnonzero(thumbnails.readable)
    same = np.arange(len(thumbnails.readable))
    first: dict[bytes, int] = {}
    flat = 0
    for begin in range(0, len(readable), _BLOCK):
        part = readable[begin : begin + _BLOCK]
        block = thumbnails.take(part)
        shows = block.reshape(len(block), -1).std(axis=1, dtype=np.float32) >= FLAT
        flat += int((~shows).sum())
        for row, pixels in zip(part[shows].tolist(), block[shows], strict=True):
            same[row] = first.setdefault(hashlib.blake2b(pixels, digest_size=16).digest(), row)
    return Distinct(np.array(sorted(first.values()), dtype=np.int64), same, flat)
