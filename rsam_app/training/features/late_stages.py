"""Cached late feature maps and thumbnails of whole training images, from which objects are discovered.

Discovery is repeated whenever a reviewer has answered, and the network is by far its slowest part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rsam_app.data.images.file_identity import files_hash
from rsam_app.data.records import Record
from rsam_app.model.store import backbone_hash
from rsam_app.system.cache.rows import RowCache, open_cache
from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint
from rsam_app.system.versions import FEATURE_MAPS
from rsam_app.training.features.source import FeatureSource

BLOCK = 32
"""Images per batch. One with a missing row is computed as a whole, so that its last bits do not depend on the cache."""


class CachedLateStages:
    """The late stages of `records`, computed once; otherwise as `FeatureSource`. `late_stages` raises `NoRoomError` if
    the cache cannot hold them."""

    def __init__(self, source: FeatureSource, records: Sequence[Record]) -> None:
        self.source, self.records = source, records
        self.rows = {record.id: row for row, record in enumerate(records)}

    def last_stage_channels(self) -> int | None:
        """As `FeatureSource.last_stage_channels`."""
        return self.source.last_stage_channels()

    def late_stages(self, records: Sequence[Record], size: int, thumbnail: int) -> Iterator[tuple[Tensor, np.ndarray]]:
        """As `FeatureSource.late_stages`, of some of the records, in batches of `BLOCK`."""
        shape = self._shape(size)
        cells, cache = 2 * math.prod(shape), self._open(size, thumbnail, 2 * math.prod(shape))
        blocks = [records[begin : begin + BLOCK] for begin in range(0, len(records), BLOCK)]
        incomplete = [any(cache.view(self.rows[r.id]) is None for r in block) for block in blocks]
        missing = [r for block, lacks in zip(blocks, incomplete, strict=True) if lacks for r in block]
        computed = self.source.late_stages(missing, size, thumbnail)
        for block, lacks in zip(blocks, incomplete, strict=True):
            if lacks:
                maps, images = next(computed)
                for record, values, image in zip(block, maps.numpy(), images, strict=True):
                    row = np.concatenate([values.reshape(-1).view(np.uint8), image.reshape(-1)])
                    cache.put(self.rows[record.id], row)
                yield maps, images
            else:
                raw = np.stack([_stored(cache, self.rows[record.id]) for record in block])
                maps = torch.from_numpy(np.ascontiguousarray(raw[:, :cells]).view(np.float16)).view(-1, *shape)
                yield maps, raw[:, cells:].reshape(-1, thumbnail, thumbnail, 3)

    def _shape(self, size: int) -> tuple[int, ...]:
        inputs = torch.zeros(1, self.source.model.in_chans, size, size, device=self.source.device)
        return self.source.late_stage_shape(inputs)

    def _open(self, size: int, thumbnail: int, cells: int) -> RowCache:
        weights, images = backbone_hash(self.source.model), files_hash(self.records)
        key = fingerprint(FEATURE_MAPS, weights, images, size, thumbnail, self.source.precision, torch.__version__)[:24]
        row = (cells + 3 * thumbnail**2,)
        return open_cache(f"late-stages-{key}", [row] * len(self.records), np.dtype(np.uint8))


def _stored(cache: RowCache, row: int) -> np.ndarray:
    values = cache.view(row)
    if values is None:
        raise UserError(f"{cache.folder}: feature maps are damaged. Remove the folder and rerun with `--resume`.")
    return values
