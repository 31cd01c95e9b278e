"""Nearest neighbours among very many vectors: exact for small sets, by an inverted file for large ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rsam_app.system.progress import Progress

# Not faiss-cpu: at equal recall it saves 10 to 30 % of the processor time, but it cannot use an accelerator, searches
# large sets by other cells, and brings a second OpenMP runtime.
MAX_EXACT_POINTS = 20_000
"""Number of points up to which every distance is computed; an inverted file would hardly save time."""
PROBES = 36
"""Cells searched per query: finds .96 of the four nearest of 100,000 synthetic embeddings, 12 cells find .86
(`benchmarks/neighbours_scale.py`)."""
QUERY_BLOCK, POINT_BLOCK = 32_768, 8192
"""Rows processed at once: at most some hundred MiB of memory beside the points."""
_SAMPLES_PER_CELL, _K_MEANS_ROUNDS = 40, 5


class Neighbours:
    """Index of the nearest points `(N, D)` by Euclidean distance; unit vectors have the same order by cosine.

    Up to 20,000 points, or on an accelerator, the search is exact. Larger sets are split by k-means into about 4 √N
    cells, and a query searches the 36 cells with the nearest centres: the inverted file of Jégou, Douze & Schmid (TPAMI
    2011), without compression. Time grows with N √N, and some neighbours across cell borders are missed. Points are
    kept in float32. Deterministic.
    """

    def __init__(self, points: np.ndarray, device: str | None = None, probes: int = PROBES) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.points = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32)).to(self.device)
        self.rows = torch.arange(len(points), device=self.device)
        self.probes = probes
        self.centres = self.points[:0]
        if len(points) > MAX_EXACT_POINTS and self.device.type == "cpu":
            self._build_cells()
        self.squares = self.points.square().sum(dim=1)

    def search(
        self, queries: np.ndarray, count: int, own: np.ndarray | None = None, progress: Progress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the `count` nearest points of each query `(M, D)`: rows `(M, count)`, nearest first, and squared
        distances `(M, count)` float32; -1 and infinity if there are fewer. `own` `(M,)` is a row to ignore for each
        query, such as the query itself."""
        wanted = count + (own is not None)
        nearest = np.full((len(queries), wanted), -1, dtype=np.int64)
        distances = np.full((len(queries), wanted), np.inf, dtype=np.float32)
        for begin in range(0, len(queries) if len(self.rows) else 0, QUERY_BLOCK):
            part = slice(begin, begin + QUERY_BLOCK)
            block = torch.from_numpy(np.ascontiguousarray(queries[part], dtype=np.float32)).to(self.device)
            best = _Best(block, wanted)
            if len(self.centres):
                self._search_cells(block, best)
            else:
                self._search_all(block, best)
            rows = torch.where(best.positions >= 0, self.rows[best.positions.clamp(min=0)], -1)
            nearest[part], distances[part] = rows.cpu().numpy(), best.distances.cpu().numpy()
            if progress:
                progress(min(begin + QUERY_BLOCK, len(queries)), len(queries))
        np.maximum(distances, 0, out=distances)
        return (nearest, distances) if own is None else _without(own, nearest, distances)

    def _build_cells(self) -> None:
        """Find the cells by k-means and sort the points by cell."""
        generator = torch.Generator().manual_seed(0)
        cells = int(4 * len(self.points) ** 0.5)
        sample = self.points[torch.randperm(len(self.points), generator=generator)[: _SAMPLES_PER_CELL * cells]]
        centres = sample[:cells].clone()
        for _ in range(_K_MEANS_ROUNDS):
            cell_of = _nearest_centres(sample, centres, 1)[:, 0]
            counts = torch.bincount(cell_of, minlength=cells)
            sums = torch.zeros_like(centres).index_add_(0, cell_of, sample)
            means = sums / counts.clamp(min=1)[:, None]
            redrawn = sample[torch.randint(len(sample), (cells,), generator=generator)]
            centres = torch.where(counts[:, None] > 0, means, redrawn)
        cell_of = torch.cat([_nearest_centres(part, centres, 1)[:, 0] for part in self.points.split(QUERY_BLOCK)])
        self.rows = cell_of.argsort(stable=True)
        self.points = self.points[self.rows]
        counts = torch.bincount(cell_of, minlength=cells)
        self.centres = centres[counts > 0]  # an empty cell would waste a probe
        self.ends = counts[counts > 0].cumsum(0).tolist()

    def _search_all(self, queries: Tensor, best: _Best) -> None:
        everyone = torch.arange(len(queries), device=self.device)
        for begin in range(0, len(self.points), POINT_BLOCK):
            for some in everyone.split(POINT_BLOCK):
                best.update(some, begin, self._distances(queries[some], begin, begin + POINT_BLOCK))

    def _search_cells(self, queries: Tensor, best: _Best) -> None:
        cells = _nearest_centres(queries, self.centres, min(self.probes, len(self.centres)))
        flat = cells.flatten()
        by_cell = flat.argsort(stable=True) // cells.shape[1]
        ends = torch.bincount(flat, minlength=len(self.centres)).cumsum(0).tolist()
        for cell, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
            begin, end = self.ends[cell - 1] if cell else 0, self.ends[cell]
            for some in by_cell[first:last].split(POINT_BLOCK) if last > first else ():
                for start in range(begin, end, POINT_BLOCK):
                    best.update(some, start, self._distances(queries[some], start, min(start + POINT_BLOCK, end)))

    def _distances(self, queries: Tensor, begin: int, end: int) -> Tensor:
        """Return squared distances minus the queries' own squares, which do not change the order."""
        return torch.addmm(self.squares[begin:end], queries, self.points[begin:end].T, alpha=-2)


class _Best:
    """The nearest positions found so far for each query, and their squared distances."""

    def __init__(self, queries: Tensor, count: int) -> None:
        self.squares = queries.square().sum(dim=1)
        self.distances = torch.full((len(queries), count), torch.inf, device=queries.device)
        self.positions = torch.full((len(queries), count), -1, device=queries.device)

    def update(self, some: Tensor, begin: int, squared: Tensor) -> None:
        """Add the distances `(R, P)` from the queries `some` `(R,)` to the points from position `begin` on."""
        count = self.positions.shape[1]
        nearest, position = squared.topk(min(count, squared.shape[1]), dim=1, largest=False)
        distances = torch.cat([self.distances[some], nearest + self.squares[some, None]], dim=1)
        positions = torch.cat([self.positions[some], position + begin], dim=1)
        self.distances[some], order = distances.topk(count, dim=1, largest=False)
        self.positions[some] = positions.gather(1, order)


def _nearest_centres(points: Tensor, centres: Tensor, count: int) -> Tensor:
    """Return the positions `(N, count)` of the centres nearest to each point."""
    squares = centres.square().sum(dim=1)
    nearest = [
        torch.addmm(squares, part, centres.T, alpha=-2).topk(count, dim=1, largest=False).indices
        for part in points.split(POINT_BLOCK)
    ]
    return torch.cat(nearest)


def _without(own: np.ndarray, nearest: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each query's row `own` or, if it is not among the nearest, the farthest one."""
    order = np.argsort(nearest == own[:, None], axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(nearest, order, axis=1), np.take_along_axis(distances, order, axis=1)
