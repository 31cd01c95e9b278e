"""Cost of the nearest-neighbour search as embeddings grow: seconds, memory and recall.

    python benchmarks/neighbours_scale.py [--rows 10000 100000 1000000] [--device cpu]

Embeddings are random: 512 numbers per row in half precision, in clusters of very different sizes, like those of similar
photographs, all different. Each cell runs in its own process and searches the four nearest neighbours of every row by
the 64 principal components, as `rsam review` does; its peak memory is reported beside that of its embeddings. `recall`
is, for 500 rows, the share of the exact four nearest in the same components that were found. Written to
`benchmarks/results/neighbours_scale.json`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.memory import forget_peak, peak
from measuring.surroundings import where

RESULTS = Path(__file__).resolve().parent / "results" / "neighbours_scale.json"
WIDTH, CLASSES, COUNT, CHECKED = 512, 200, 4, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--device", help="cpu or cuda; default: an accelerator, if available")
    parser.add_argument("--note", default="", help="other load on the machine")
    arguments = parser.parse_args()
    cells: list[dict[str, Any]] = []
    for rows in arguments.rows:
        with multiprocessing.get_context("spawn").Pool(1) as process:  # for a separate peak of memory
            cells.append(process.apply(_measure, (rows, arguments.device)))
        print(cells[-1], flush=True)
        report = {"width": WIDTH, "nearest": COUNT, "cells": cells, "note": arguments.note, "environment": where()}
        RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _measure(rows: int, device: str | None) -> dict[str, Any]:
    from rsam_app.data.near_duplicates.nearest_neighbours import Neighbours
    from rsam_app.review.analysis.embeddings import principal_components

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    embeddings = _embeddings(rows)
    before = forget_peak()
    begun, worked = time.perf_counter(), time.process_time()
    narrow = principal_components(embeddings, np.arange(rows), 64)
    projected = time.perf_counter() - begun
    neighbours = Neighbours(narrow, device)
    parted = time.perf_counter() - begun
    found, _ = neighbours.search(narrow, COUNT, np.arange(rows))
    seconds, worked = time.perf_counter() - begun, time.process_time() - worked
    most = peak()
    some = np.random.default_rng(1).permutation(rows)[:CHECKED]
    exact = _exact(narrow, some)
    recall = np.mean([len(set(a) & set(b)) / COUNT for a, b in zip(found[some].tolist(), exact.tolist(), strict=True)])
    return {
        "rows": rows, "device": str(neighbours.device), "seconds": round(seconds, 1),
        "seconds_of_processor": round(worked, 1), "until_projected": round(projected, 1),
        "until_parted": round(parted, 1), "recall": round(float(recall), 4),
        "mib_of_embeddings": round(embeddings.nbytes / 2**20), "mib_beyond_them": most - before,
    }  # fmt: skip


def _exact(narrow: np.ndarray, some: np.ndarray) -> np.ndarray:
    """The exact nearest neighbours of some rows."""
    best = np.full((len(some), COUNT), -1)
    for place, row in enumerate(some):
        squared = ((narrow - narrow[row]) ** 2).sum(axis=1)
        squared[row] = np.inf
        best[place] = np.argpartition(squared, COUNT)[:COUNT]
    return best


def _embeddings(rows: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, WIDTH), dtype=np.float32)
    spread = rng.standard_normal((24, WIDTH), dtype=np.float32) / 5  # variation within a class
    label = rng.choice(CLASSES, rows, p=rng.dirichlet(np.full(CLASSES, 0.5)))
    embeddings = np.empty((rows, WIDTH), dtype=np.float16)
    for begin in range(0, rows, 8192):
        of = label[begin : begin + 8192]
        within = rng.standard_normal((len(of), len(spread)), dtype=np.float32) @ spread
        noise = 0.2 * rng.standard_normal((len(of), WIDTH), dtype=np.float32)
        embeddings[begin : begin + 8192] = (centres[of] + within + noise).astype(np.float16)
    return embeddings


if __name__ == "__main__":
    main()
