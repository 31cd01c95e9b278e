"""What a search for near-duplicates found: which images are the same photograph, and how much alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rsam_app.data.records import Skipped

DETAIL = 0.92
"""Correlation of detail from which on two images can be the same photograph."""


@dataclass(frozen=True)
class Duplicates:
    """Which of N images are the same photograph.

    `same` `(N,)` is for each the row of the first image with the very same thumbnail, itself where there is none before
    it. `pairs` `(P, 2)` are pairs of such first rows that are the same photograph, the lower first, in order;
    `likeness` `(P,)` how well their detail agrees, in [.92, 1]. `broken` are files that could not be read, `flat` the
    number of images of one grey: these are compared with nothing. `note` says why thumbnails could not be kept, or
    nothing.
    """

    same: np.ndarray
    pairs: np.ndarray
    likeness: np.ndarray
    broken: tuple[Skipped, ...] = ()
    flat: int = 0
    note: str = ""

    def groups(self) -> np.ndarray:
        """For each image the row of the first of those it is linked with, directly or through others; -1 where there
        are none: `(N,)`."""
        count = len(self.same)
        links = np.concatenate([np.stack([np.arange(count), self.same], axis=1), self.pairs])
        graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
        component = connected_components(graph, directed=False)[1] if count else np.zeros(0, dtype=np.int64)
        first = np.full(component.max(initial=-1) + 1, count)
        np.minimum.at(first, component, np.arange(count))
        linked = np.bincount(component)[component] > 1 if count else np.zeros(0, dtype=bool)
        return np.where(linked, first[component], -1)

    def best(self, of: np.ndarray | None = None) -> np.ndarray:
        """The likeness of each image with the one most like it, NaN where there is none: `(N,)`; with `of` `(N,)`, an
        image's split, say, only that of images of another."""
        count = len(self.same)
        own = np.arange(count) if of is None else np.unique(of, return_inverse=True)[1]
        only = np.full(count, -1)  # what all images of a first row have, -2 where that differs
        only[self.same] = own
        only[self.same[only[self.same] != own]] = -2
        found = np.where(only[self.same] == -2, 1.0, -np.inf)
        order = np.argsort(self.same, kind="stable")
        for (first, second), value in zip(self.pairs, self.likeness, strict=True):
            for here, there in ((first, second), (second, first)):
                begin, end = np.searchsorted(self.same, (here, here + 1), sorter=order)
                members = order[begin:end]
                members = members[own[members] != only[there]]
                found[members] = np.maximum(found[members], value)
        return np.where(np.isfinite(found), found, np.nan)

    def notes(self) -> list[str]:
        """What a person should know about images that were not compared."""
        said = [self.note] if self.note else []
        left_out = f"of {len(self.same)} images are not compared for near-duplicates"
        if self.broken:
            named = "; ".join(skipped.reason for skipped in self.broken[:3])
            more = f"; and {len(self.broken) - 3} more" if len(self.broken) > 3 else ""
            said.append(f"{len(self.broken)} {left_out}: {named}{more}")
        if self.flat:
            said.append(f"{self.flat} {left_out}, since they show one grey alone")
        return said
