"""Candidate pairs of near-duplicates: neighbours by the low frequencies of their thumbnails."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from rsam_app.data.near_duplicates.nearest_neighbours import Neighbours
from rsam_app.data.near_duplicates.thumbnails import SIDE, Thumbnails
from rsam_app.system.progress import Progress

FREQUENCIES = 8
"""Frequencies of the cosine transform along each side, including the constant: 63 numbers an image."""
CROP = 0.12
"""Share of each side that the windows leave out. A crop of up to about .17 is near enough to one of them."""
MIN_COSINE = 0.8
"""Cosine of descriptors from which a pair is a candidate; altered copies have .87 and more."""
NEIGHBOURS_PER_WINDOW = 4
PAIRS_PER_IMAGE = 6
"""Candidate pairs of an image, the nearest ones."""
FLAT = 0.5
"""Standard deviation of grey levels below which an image has no content."""
_BLOCK = 4096


@dataclass(frozen=True)
class Distinct:
    """The images that need a comparison.

    `rows` `(D,)`: images with content, the first of each thumbnail. `same` `(N,)`: for each image the first one with
    its thumbnail; the image itself if it is unreadable or flat. `flat`: number of images without content.
    """

    rows: np.ndarray
    same: np.ndarray
    flat: int


def find_distinct(thumbnails: Thumbnails) -> Distinct:
    """Find the images that need a comparison."""
    readable = np.flatnonzero(thumbnails.readable)
    same = np.arange(len(thumbnails.readable))
    first: dict[bytes, int] = {}
    flat = 0
    for begin in range(0, len(readable), _BLOCK):
        part = readable[begin : begin + _BLOCK]
        block = thumbnails.take(part)
        has_content = block.reshape(len(block), -1).std(axis=1, dtype=np.float32) >= FLAT
        flat += int((~has_content).sum())
        for row, pixels in zip(part[has_content].tolist(), block[has_content], strict=True):
            same[row] = first.setdefault(hashlib.blake2b(pixels, digest_size=16).digest(), row)
    return Distinct(np.array(sorted(first.values()), dtype=np.int64), same, flat)


@dataclass(frozen=True)
class Window:
    """A part of a thumbnail, in shares of its sides: the top-left corner and the extent along each side."""

    left: float
    top: float
    extent: float

    def placement(self) -> tuple[float, float, float, float]:
        """Return the window as a placement to start from (`comparison.register`)."""
        extent = self.extent
        return extent, 2 * self.left + extent - 1, extent, 2 * self.top + extent - 1


WINDOWS = (
    Window(0, 0, 1),
    *(Window(left, top, 1 - CROP) for left in (0, CROP) for top in (0, CROP)),
    Window(CROP / 2, CROP / 2, 1 - CROP),
)
"""The whole image and crops of it. The descriptor of a window resembles that of a copy cropped to it."""


@dataclass(frozen=True)
class Candidates:
    """P pairs: `second` resembles the part of `first` in the window number `window`, mirrored if `mirrored`. Each
    `(P,)`."""

    first: np.ndarray
    second: np.ndarray
    window: np.ndarray
    mirrored: np.ndarray


def find_candidates(thumbnails: Thumbnails, rows: np.ndarray, progress: Progress | None = None) -> Candidates:
    """Find pairs among readable rows `(R,)` whose descriptors have a cosine of at least `MIN_COSINE`: as they are,
    mirrored, or with one of them cropped.

    Each pair comes once, with its best window and orientation. Each image contributes its best `PAIRS_PER_IMAGE` pairs;
    it can have more as a partner of others.
    """
    units = _units(_descriptors(thumbnails, rows, WINDOWS[0]))
    neighbours = Neighbours(units, probes=6)  # copies are so near that they are in the first cells
    flips = np.where(np.arange(FREQUENCIES) % 2, -1, 1).astype(np.float32)
    mirror = np.tile(flips, (FREQUENCIES, 1)).reshape(-1)
    columns = []
    for number, window in enumerate(WINDOWS):
        queries = units if number == 0 else _units(_descriptors(thumbnails, rows, window))
        for mirrored in (False, True):
            nearest, squared = neighbours.search(
                queries * mirror if mirrored else queries, NEIGHBOURS_PER_WINDOW, np.arange(len(rows))
            )
            near = (nearest >= 0) & (squared <= 2 - 2 * MIN_COSINE)
            first, _ = np.nonzero(near)
            variant = np.full(len(first), 2 * number + mirrored)
            columns.append((squared[near], first, nearest[near], variant))
            if progress:
                progress(2 * number + mirrored + 1, 2 * len(WINDOWS))
    squared, first, second, variant = (np.concatenate(column) for column in zip(*columns, strict=True))
    best = _best_pairs(squared, first, second)
    variant = variant[best]
    return Candidates(rows[first[best]], rows[second[best]], variant // 2, variant % 2 == 1)


def _best_pairs(squared: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the nearest variant of each unordered pair, for pairs among the nearest of one of their two images."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((squared, high, low))
    repeated = np.zeros(len(order), dtype=bool)
    repeated[1:] = (low[order][1:] == low[order][:-1]) & (high[order][1:] == high[order][:-1])
    pairs = order[~repeated]
    wanted = np.zeros(len(pairs), dtype=bool)
    for side in (low[pairs], high[pairs]):
        ranked = np.lexsort((squared[pairs], side))
        begins = np.r_[True, side[ranked][1:] != side[ranked][:-1]] if len(ranked) else np.zeros(0, dtype=bool)
        start = np.maximum.accumulate(np.where(begins, np.arange(len(ranked)), 0))
        wanted[ranked[np.arange(len(ranked)) - start < PAIRS_PER_IMAGE]] = True
    return pairs[wanted]


def _descriptors(thumbnails: Thumbnails, rows: np.ndarray, window: Window) -> np.ndarray:
    """Return the low frequencies of a window of each thumbnail: `(R, 64)` float32."""
    across = _cosines(window.left, window.extent)
    down = _cosines(window.top, window.extent)
    weight = np.hypot(*np.mgrid[:FREQUENCIES, :FREQUENCIES]) ** 0.25
    weight[0, 0] = 0.0  # ignore the brightness
    descriptors = np.empty((len(rows), FREQUENCIES * FREQUENCIES), dtype=np.float32)
    for begin in range(0, len(rows), _BLOCK):
        block = thumbnails.take(rows[begin : begin + _BLOCK]).astype(np.float32)
        descriptors[begin : begin + _BLOCK] = ((down @ (block @ across.T)) * weight).reshape(len(block), -1)
    return descriptors


def _cosines(begin: float, extent: float) -> np.ndarray:
    """Return the first cosines `(FREQUENCIES, 64)` over a part of 64 pixels, orthogonal to the constant."""
    edges = np.clip(np.arange(SIDE + 1) / SIDE, begin, begin + extent)
    covered = np.diff(edges) * SIDE
    phase = (np.diff(edges) / 2 + edges[:-1] - begin) / extent
    waves = np.cos(np.pi * np.arange(FREQUENCIES)[:, None] * phase) * covered
    waves[1:] -= covered * (waves[1:].sum(axis=1, keepdims=True) / covered.sum())
    scaled: np.ndarray = waves * np.where(np.arange(FREQUENCIES) > 0, 2**0.5, 1.0)[:, None] / (extent * SIDE**0.5)
    return scaled.astype(np.float32)


def _units(vectors: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.float32(1e-9)))
