"""Layouts of a backbone's features, as seen by attention: each is a map `(B, C, H, W)` and back again.

A transformer's tokens are a grid of patches behind class and register tokens. Its map is made such that the average of
the map's cells is what the head reads, whichever tokens those are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class MapLayout:
    """Features that are a map already, `(B, C, H, W)`, or `(B, H, W, C)` with the channels last."""

    channels: int
    channels_first: bool

    def to_map(self, features: Tensor, size: Sequence[int]) -> Tensor:
        """The map `(B, C, H, W)` of the features of images of `size` (height, width)."""
        return features if self.channels_first else features.permute(0, 3, 1, 2)

    def to_features(self, maps: Tensor) -> Tensor:
        """The features, as the backbone's head takes them, of maps `(B, C, H, W)`."""
        return maps if self.channels_first else maps.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Entry:
    """One tensor of tokens `(B, prefix + H · W, channels)`; `read` are the prefix tokens that the head reads."""

    channels: int
    prefix: int
    read: tuple[int, ...]


@dataclass(frozen=True)
class TokenLayout:
    """Tokens, or a list of several tensors of them, as one map.

    If the head reads patches, by averaging or attending to them, their grid is the map. If it reads a class token c,
    the map is the grid with every patch shifted alike,

        f = patch + c - mean(patch),   so that   mean(f) = c,

    and the head gets the gated map's mean in c's place: a mask of ones gives it c itself, and each patch counts as much
    as its mask lets it. (ours) Gating the last block's input instead would change nothing, since blocks normalise each
    token first. If the head reads several of these, their maps are stacked along the channels, on the finest grid.
    """

    entries: tuple[Entry, ...]
    is_list: bool
    reads_patches: bool
    reroll: Any = None
    """Hiera's function from its tokens, which are ordered by window, to `(B, H, W, C)`; None: they are in rows."""
    channels_first: bool = True

    @property
    def channels(self) -> int:
        """Channels of the map."""
        return sum(e.channels * (len(e.read) + self.reads_patches) for e in self.entries)

    def to_map(self, features: Any, size: Sequence[int]) -> Tensor:
        """The map `(B, C, H, W)` of the features of images of `size` (height, width)."""
        tensors = features if self.is_list else [features]
        grids = [self._grid(t, e, size) for t, e in zip(tensors, self.entries, strict=True)]
        finest = max((grid.shape[2:] for grid in grids), key=math.prod)
        parts = []
        for tokens, entry, grid in zip(tensors, self.entries, grids, strict=True):
            patches = grid if grid.shape[2:] == finest else F.interpolate(grid, size=finest, mode="nearest")
            if self.reads_patches:
                parts.append(patches)
            if entry.read:
                deviation = patches - patches.mean(dim=(2, 3), keepdim=True)
                parts += [deviation + tokens[:, place, :, None, None] for place in entry.read]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def to_features(self, maps: Tensor) -> Any:
        """The features, as the backbone's head takes them, of maps `(B, C, H, W)`; tokens it does not read are 0."""
        tensors, begin = [], 0
        for entry in self.entries:
            patches = maps.new_zeros(maps.shape[0], 0, entry.channels)
            if self.reads_patches:
                patches = maps[:, begin : begin + entry.channels].flatten(2).transpose(1, 2)
                begin += entry.channels
            prefix = [maps.new_zeros(maps.shape[0], entry.channels)] * entry.prefix
            for place in entry.read:
                prefix[place] = maps[:, begin : begin + entry.channels].mean(dim=(2, 3))
                begin += entry.channels
            tensors.append(torch.cat([*(token[:, None] for token in prefix), patches], dim=1))
        return tensors if self.is_list else tensors[0]

    def _grid(self, tokens: Tensor, entry: Entry, size: Sequence[int]) -> Tensor:
        patches = tokens[:, entry.prefix :]
        if self.reroll is not None:
            rows: Tensor = self.reroll(patches)
            return rows.permute(0, 3, 1, 2)
        height, width = grid_of(patches.shape[1], size)
        grid: Tensor = patches.transpose(1, 2).unflatten(2, (height, width))
        return grid


Layout = MapLayout | TokenLayout


def grid_of(patches: int, size: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of so many patches of images of `size` (height, width). Raises `ValueError` if there are none
    in that proportion."""
    height = max(1, round(math.sqrt(patches * size[0] / size[1])))
    if not patches or patches % height:
        raise ValueError(f"{patches} tokens are not a grid over {size[0]} × {size[1]} pixels")
    return height, patches // height
