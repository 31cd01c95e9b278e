"""The nearest of very many points, exactly where they are few, else among the cells that lie around the asked one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rsam_app.system.progress import Progress

EXACT = 20_000
"""Points up to which each is compared with each: cells would hardly save anything."""
PROBES = 36
"""Cells that are looked into for each query: .96 of the four nearest of 100,000 drawn embeddings are found
(`benchmarks/neighbours_scale.py`), and with 12 cells .86."""
QUERIES, POINTS = 32_768, 8192
"""Rows that are dealt with at once; beside the points, no more than some hundred MiB are held."""
_SAMPLE, _ROUNDS = 40, 5


class Neighbours:
    """Finds the nearest, by Euclidean distance, of points `(N, D)`: for unit vectors the order of their cosines.

    Up to 20,000 points, and on an accelerator, every distance is looked at. Above, k-means parts the points into about
    4 √N cells, and a query looks at the points of the 36 cells whose centres lie nearest (the inverted file of Jégou,
    Douze & Schmid, TPAMI 2011, without their compression), so that time grows with N √N, and some of the neighbours
    that lie across a far border of cells are missed. Points are held in float32. The same every time.
    """

    def __init__(self, points: np.ndarray, device: str | None = None, probes: int = PROBES) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.points = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32)).to(self.device)
        self.rows = torch.arange(len(points), device=self.device)
        self.probes = probes
        self.centres = self.points[:0]
        if len(points) > EXACT and self.device.type == "cpu":
            self._part()
        self.squares = self.points.square().sum(dim=1)

    def search(
        self, queries: np.ndarray, count: int, own: np.ndarray | None = None, progress: Progress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `count` nearest points of each query `(M, D)`: rows `(M, count)`, the nearest first, and squared
        distances `(M, count)` float32. -1 and infinity where there are no more. `own` `(M,)` is for each query a row
        that does not count, such as the one that it is itself."""
        wanted = count + (own is not None)
        found = np.full((len(queries), wanted), -1, dtype=np.int64)
        distances = np.full((len(queries), wanted), np.inf, dtype=np.float32)
        for begin in range(0, len(queries), QUERIES):
            part = slice(begin, begin + QUERIES)
            asked = torch.from_numpy(np.ascontiguousarray(queries[part], dtype=np.float32)).to(self.device)
            best = _Best(len(asked), wanted, asked)
            if len(self.centres):
                self._search_cells(asked, best)
            else:
                self._search_all(asked, best)
            rows = (
                torch.where(best.places >= 0, self.rows[best.places.clamp(min=0)], -1)
                if len(self.rows)
                else best.places
            )
            found[part], distances[part] = rows.cpu().numpy(), best.distances.cpu().numpy()
            if progress:
                progress(min(begin + QUERIES, len(queries)), len(queries))
        np.maximum(distances, 0, out=distances)
        return (found, distances) if own is None else _without(own, found, distances)

    def _part(self) -> None:
        """Sort the points by cell."""
        chooser = torch.Generator().manual_seed(0)
        cells = int(4 * len(self.points) ** 0.5)
        drawn = torch.randperm(len(self.points), generator=chooser)[: _SAMPLE * cells]
        sample = self.points[drawn]
        centres = sample[:cells].clone()
        for _ in range(_ROUNDS):
            of = _nearest_centres(sample, centres, 1)[:, 0]
            counts = torch.bincount(of, minlength=cells)
            sums = torch.zeros_like(centres).index_add_(0, of, sample)
            moved = sums / counts.clamp(min=1)[:, None]
            again = sample[torch.randint(len(sample), (cells,), generator=chooser)]
            centres = torch.where(counts[:, None] > 0, moved, again)
        of = torch.cat([_nearest_centres(part, centres, 1)[:, 0] for part in self.points.split(QUERIES)])
        self.rows = of.argsort(stable=True)
        self.points = self.points[self.rows]
        counts = torch.bincount(of, minlength=cells)
        self.centres = centres[counts > 0]  # an empty cell would be looked into in vain
        self.ends = counts[counts > 0].cumsum(0).tolist()

    def _search_all(self, asked: Tensor, best: _Best) -> None:
        everyone = torch.arange(len(asked), device=self.device)
        for begin in range(0, len(self.points), POINTS):
            for some in everyone.split(POINTS):
                best.join(some, begin, self._distances(asked[some], begin, begin + POINTS))

    def _search_cells(self, asked: Tensor, best: _Best) -> None:
        cells = _nearest_centres(asked, self.centres, min(self.probes, len(self.centres)))
        flat = cells.flatten()
        order = flat.argsort(stable=True)
        asking = order // cells.shape[1]
        ends = torch.bincount(flat, minlength=len(self.centres)).cumsum(0).tolist()
        for cell, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
            begin, end = self.ends[cell - 1] if cell else 0, self.ends[cell]
            for some in asking[first:last].split(POINTS) if last > first else ():
                for start in range(begin, end, POINTS):
                    best.join(some, start, self._distances(asked[some], start, min(start + POINTS, end)))

    def _distances(self, asked: Tensor, begin: int, end: int) -> Tensor:
        """Squared distances less the queries' own squares, which change no order."""
        return torch.addmm(self.squares[begin:end], asked, self.points[begin:end].T, alpha=-2)


class _Best:
    """The nearest places found so far of each query; distances are squared."""

    def __init__(self, queries: int, count: int, asked: Tensor) -> None:
        self.squares = asked.square().sum(dim=1)
        self.distances = torch.full((queries, count), torch.inf, device=asked.device)
        self.places = torch.full((queries, count), -1, device=asked.device)

    def join(self, some: Tensor, begin: int, squared: Tensor) -> None:
        """Bring the distances `(R, P)` of the queries `some` `(R,)` to the points from place `begin` on."""
        count = self.places.shape[1]
        nearest, place = squared.topk(min(count, squared.shape[1]), dim=1, largest=False)
        distances = torch.cat([self.distances[some], nearest + self.squares[some, None]], dim=1)
        places = torch.cat([self.places[some], place + begin], dim=1)
        kept, order = distances.topk(count, dim=1, largest=False)
        self.distances[some] = kept
        self.places[some] = places.gather(1, order)


def _nearest_centres(points: Tensor, centres: Tensor, count: int) -> Tensor:
    """The places `(N, count)` of the centres nearest to each point."""
    squares = centres.square().sum(dim=1)
    nearest = [
        torch.addmm(squares, part, centres.T, alpha=-2).topk(count, dim=1, largest=False).indices
        for part in points.split(POINTS)
    ]
    return torch.cat(nearest)


def _without(own: np.ndarray, found: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All but the row `own` of each query, or, where that is not among them, all but the farthest."""
    last = np.argsort(found == own[:, None], axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(found, last, axis=1), np.take_along_axis(distances, last, axis=1)
