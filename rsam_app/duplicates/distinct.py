"""Images with the very same thumbnail, told at once: however often a file is there, it is compared with others once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from rsam_app.duplicates.thumbnails import Thumbnails

FLAT = 0.5
"""Standard deviation of grey levels below which an image shows nothing."""
_BLOCK = 4096


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
