"""Epoch time with one process and with two, which share the CPU cores.

    RSAM_DATA=data python benchmarks/scaling.py [PIPELINE] [--rounds 3] [--set train.batch_size=32 …]

Runs `rsam train`, alternating between the two, and reads the seconds of the last epoch from `metrics.jsonl`. With as
many accelerators as processes the ratio is the speed-up; on a CPU whose cores one process already uses, 1 means that
distributing costs nothing. Written to `benchmarks/results/scaling.json`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring.surroundings import where
from measuring.turns import ratio

RESULTS = Path(__file__).resolve().parent / "results" / "scaling.json"
SETTINGS = ("model.weights=none", "train.epochs=2", "train.discover_objects=false")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", nargs="?", default="pet_mobilenetv2")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    seconds: dict[int, list[float]] = {1: [], arguments.processes: []}
    settings = [*SETTINGS, *arguments.set]
    for _ in range(arguments.rounds):
        for processes, taken in seconds.items():
            taken.append(_seconds_of_last_epoch(arguments.pipeline, processes, settings))
            print(f"{processes} process(es): {taken[-1]:.2f} s", flush=True)
    report: dict[str, Any] = {"pipeline": arguments.pipeline, "settings": settings, "environment": where()}
    report["one_by_several"] = ratio(seconds[1], seconds[arguments.processes])
    report["processes"] = arguments.processes
    report["seconds"] = {str(processes): taken for processes, taken in seconds.items()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def _seconds_of_last_epoch(pipeline: str, processes: int, settings: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "rsam_app", "train", pipeline, "--run", f"{folder}/run"]
        words += [word for setting in settings for word in ("--set", setting)]
        subprocess.run([*words, *(["--processes", str(processes)] if processes > 1 else [])], check=True)
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return float(json.loads(lines[-1])["seconds"])


if __name__ == "__main__":
    main()
