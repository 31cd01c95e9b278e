"""Cost of selection as pools grow: seconds and memory of strategies that use embeddings.

    python benchmarks/selection_scale.py [--rows 10000 100000 1000000] [--strategies k_center herding] [--budget 1000]

Pools are random: 512 numbers per row in half precision, in clusters of very different sizes, like embeddings of similar
photographs. Each cell runs in its own process; its peak memory is reported beside that of its pool. Written to
`benchmarks/results/selection_scale.json`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
from measuring.memory import forget_peak, peak
from measuring.surroundings import where

RESULTS = Path(__file__).resolve().parent / "results" / "selection_scale.json"
WIDTH, CLASSES = 512, 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument(
        "--strategies", nargs="+", default=["k_center", "transductive_design", "herding", "typiclust", "badge"]
    )
    parser.add_argument("--budget", type=int, default=1000)
    arguments = parser.parse_args()
    cells: list[dict[str, Any]] = []
    for rows in arguments.rows:
        for strategy in arguments.strategies:
            with multiprocessing.get_context("spawn").Pool(1) as process:  # for a separate peak of memory
                cells.append(process.apply(_measure, (strategy, rows, arguments.budget)))
            print(cells[-1], flush=True)
            report = {"width": WIDTH, "budget": arguments.budget, "cells": cells, "environment": where()}
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _measure(strategy: str, rows: int, budget: int) -> dict[str, Any]:
    from rsam_app.selection.strategies import find_strategy

    chosen_by, pool = find_strategy(strategy), _pool(rows)
    before = forget_peak()
    begun = time.perf_counter()
    choice = chosen_by(pool, budget, np.random.default_rng(0))
    seconds = time.perf_counter() - begun
    if len(set(choice.indices.tolist())) != budget:
        raise RuntimeError(f"{strategy} chose {len(set(choice.indices.tolist()))} of {budget}")
    most = peak()
    return {
        "strategy": strategy, "rows": rows, "seconds": round(seconds, 2),
        "mib_of_embeddings": round(pool.embeddings.nbytes / 2**20), "mib_beyond_the_pool": most - before,
    }  # fmt: skip


def _pool(rows: int) -> Any:
    from rsam_app.selection.pool import Pool

    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, WIDTH), dtype=np.float32)
    shares = rng.dirichlet(np.full(CLASSES, 0.5))
    label = rng.choice(CLASSES, rows, p=shares)
    embeddings = np.empty((rows, WIDTH), dtype=np.float16)
    for begin in range(0, rows, 8192):
        block = slice(begin, begin + 8192)
        noise = rng.standard_normal((len(label[block]), WIDTH), dtype=np.float32)
        embeddings[block] = (centres[label[block]] + 0.7 * noise).astype(np.float16)
    logits = rng.standard_normal((rows, CLASSES), dtype=np.float32)
    logits[np.arange(rows), label] += 3
    first = np.partition(logits, -2, axis=1)[:, -2:]
    names = tuple(f"class {i}" for i in range(CLASSES))
    one = np.full(rows, 0.5, dtype=np.float32)
    predicted = tuple(names[i] for i in logits.argmax(axis=1))
    return Pool(
        ids=tuple(map(str, range(rows))), paths=("",) * rows, splits=("train",) * rows, labels=("",) * rows,
        predicted=predicted, classes=names, logits=logits, confidence=one, margin=first[:, 1] - first[:, 0],
        entropy=one, scores={}, rectangles=np.full((rows, 5), np.nan, dtype=np.float32), embeddings=embeddings,
    )  # fmt: skip


if __name__ == "__main__":
    main()
