"""Result of a search for near-duplicates: the groups of images that are the same photograph, and how alike they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rsam_app.data.records import Skipped

DETAIL = 0.92
"""Minimum correlation of detail of two images that are the same photograph."""


@dataclass(frozen=True)
class Duplicates:
    """Which of N images are the same photograph.

    `same` `(N,)`: for each image the row of the first one with an identical thumbnail, or its own. `pairs` `(P, 2)`:
    sorted pairs of such first rows that are the same photograph, the lower row first. `likeness` `(P,)`: correlation of
    their detail, in [.92, 1]. `broken`: files that could not be read. `flat`: number of images without content. Neither
    is compared. `note`: why thumbnails were not cached, or empty.
    """

    same: np.ndarray
    pairs: np.ndarray
    likeness: np.ndarray
    broken: tuple[Skipped, ...] = ()
    flat: int = 0
    note: str = ""

    def groups(self) -> np.ndarray:
        """Return for each image the first row of its group of linked images, directly or through others: `(N,)`; -1 if
        it is alone."""
        count = len(self.same)
        links = np.concatenate([np.stack([np.arange(count), self.same], axis=1), self.pairs])
        graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
        component = connected_components(graph, directed=False)[1] if count else np.zeros(0, dtype=np.int64)
        first = np.full(component.max(initial=-1) + 1, count)
        np.minimum.at(first, component, np.arange(count))
        linked = np.bincount(component)[component] > 1 if count else np.zeros(0, dtype=bool)
        return np.where(linked, first[component], -1)

    def best(self, splits: np.ndarray | None = None) -> np.ndarray:
        """Return the highest likeness of each image with another, NaN if there is none: `(N,)`. With `splits` `(N,)`,
        only images of another split count."""
        count = len(self.same)
        own = np.arange(count) if splits is None else np.unique(splits, return_inverse=True)[1]
        only = np.full(count, -1)  # the split of all images of a first row, -2 if they differ
        only[self.same] = own
        only[self.same[only[self.same] != own]] = -2
        best = np.where(only[self.same] == -2, 1.0, -np.inf)
        order = np.argsort(self.same, kind="stable")
        for (first, second), value in zip(self.pairs, self.likeness, strict=True):
            for here, there in ((first, second), (second, first)):
                begin, end = np.searchsorted(self.same, (here, here + 1), sorter=order)
                members = order[begin:end]
                members = members[own[members] != only[there]]
                best[members] = np.maximum(best[members], value)
        return np.where(np.isfinite(best), best, np.nan)

    def notes(self) -> list[str]:
        """Return notes on images that were not compared."""
        notes = [self.note] if self.note else []
        left_out = f"of {len(self.same)} images are not compared for near-duplicates"
        if self.broken:
            named = "; ".join(skipped.reason for skipped in self.broken[:3])
            more = f"; and {len(self.broken) - 3} more" if len(self.broken) > 3 else ""
            notes.append(f"{len(self.broken)} {left_out}: {named}{more}")
        if self.flat:
            notes.append(f"{self.flat} {left_out}: they show only one grey")
        return notes
