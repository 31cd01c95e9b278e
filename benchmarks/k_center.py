"""k-center greedy compared with scikit-activeml's: processor seconds for the same pool and budget.

    pip install --target elsewhere --no-deps scikit-activeml
    PYTHONPATH=elsewhere python benchmarks/k_center.py [--rows 100000] [--budget 1000]

scikit-activeml is not a dependency. Its time grows linearly with the picks (a pass over all rows for each), so it is
measured for `--their-picks` and extrapolated from the last two; ours is measured for the whole budget. Both use one
thread and the same first centre, and so choose the same rows. Written to `benchmarks/results/k_center.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from measuring.surroundings import where

RESULTS = Path(__file__).resolve().parent / "results" / "k_center.json"
CLUSTERS = 200


def main() -> None:
    from rsam_app.selection.strategies.k_center import k_center_greedy

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--their-picks", type=int, nargs="+", default=[5, 15, 30])
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    points = rng.standard_normal((CLUSTERS, arguments.width), dtype=np.float32)[
        rng.integers(0, CLUSTERS, arguments.rows)
    ]
    points += 0.7 * rng.standard_normal(points.shape, dtype=np.float32)
    first, rest = points[:1], points[1:]
    begun = time.process_time()
    ours, _ = k_center_greedy(rest, arguments.budget, np.random.default_rng(0), first)
    seconds = time.process_time() - begun
    theirs = {}
    for picks in arguments.their_picks:
        theirs[picks], chosen = _theirs(points, picks)
        same = float(np.mean(chosen - 1 == ours[:picks]))
        print(f"{picks} picks: {theirs[picks]:.2f} s, {same:.0%} the same rows", flush=True)
    few, many = sorted(theirs)[-2:]
    each = (theirs[many] - theirs[few]) / (many - few)
    expected = theirs[many] + each * (arguments.budget - many)
    report = {
        "rows": arguments.rows, "width": arguments.width, "budget": arguments.budget,
        "ours_seconds": round(seconds, 2), "scikit_activeml_seconds": {str(k): round(v, 2) for k, v in theirs.items()},
        "scikit_activeml_seconds_carried_on": round(expected, 1), "times": round(expected / seconds, 1),
        "same_rows": same, "time": "processor seconds, one thread", "environment": where(),
    }  # fmt: skip
    print(report)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _theirs(points: np.ndarray, picks: int) -> tuple[float, np.ndarray]:
    from skactiveml.pool import CoreSet

    labels = np.full(len(points), np.nan)
    labels[0] = 0
    begun = time.process_time()
    chosen = CoreSet(random_state=0).query(points, labels, batch_size=picks)
    return time.process_time() - begun, np.asarray(chosen)


if __name__ == "__main__":
    main()
