"""Label efficiency of selection strategies on cached features of a frozen MobileNetV2.

    RSAM_DATA=data RSAM_WEIGHTS=weights python benchmarks/selection.py

It starts with one label per class and adds as many in each of 8 rounds (`--labels`: another number), measured by a
logistic regression on the official test images. Each seed selects from another nine tenths of the training images, so
that deterministic strategies vary too; with `--whole-pool` every seed selects from all. Finished cells are saved in
`--folder` and skipped, so the command can be interrupted at any time. Written to `benchmarks/results/selection.json`.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from measuring.surroundings import where

from rsam_app.run.job import Job
from rsam_app.system.progress import Reporter
from rsam_app.workflow.simulate import simulate_rounds

RESULTS = Path(__file__).resolve().parent / "results" / "selection.json"
STRATEGIES = (
    "auto,transductive_design,herding,typiclust,diverse_margin,margin,badge,k_center,entropy,least_confidence,random"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("RSAM_WEIGHTS")
    weights = Path(folder) / "mobilenetv2_100.safetensors" if folder else None
    parser.add_argument("--weights", type=Path, default=weights, required=not weights, help="MobileNetV2's")
    parser.add_argument("--pipelines", nargs="+", default=["cub_mobilenetv2"], help="names, or paths of pipelines")
    parser.add_argument("--strategies", default=STRATEGIES)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--labels", type=int, help="at the start and in each round, instead of one per class")
    parser.add_argument("--whole-pool", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs/selection-benchmark"))
    arguments = parser.parse_args()
    for pipeline in arguments.pipelines:
        name = Path(pipeline).stem
        job = Job.of_pipeline(pipeline, [f"model.weights={arguments.weights}"], arguments.folder / name, Reporter())
        with job.run.writing():
            share = 1.0 if arguments.whole_pool else 0.9
            names = tuple(dict.fromkeys([*arguments.strategies.split(","), "random"]))
            labels = arguments.labels or len(job.original.classes)
            found = simulate_rounds(job, names, 8, labels, labels, arguments.seeds, share)
            print(found.text)
            protocol = f"{name}, {'whole pool' if share == 1 else 'nine tenths of the pool'}"
            _keep(f"{protocol}, {labels} labels a round" if arguments.labels else protocol, found.summary)


def _keep(name: str, summary: dict[str, object]) -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    found[name] = {**summary, "environment": where()}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
