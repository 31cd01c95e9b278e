"""What a simulated reviewer's decisions bring in the demo: its first run beside the round that learns from them.

    python benchmarks/demo_rounds.py [--seeds 0 1 …] [--decisions 60 3]

The dataset is the same in every cell; the seed is that of both trainings. `--decisions` is the length of the queue
that the reviewer works through: 60 by default in `rsam demo`, 3 to see whether a few decisions look like harm. Figures
on test images: top-1, and the mean IoU of the rectangles with the true boxes. Finished cells are saved in
`results/demo_rounds.jsonl` and skipped; the table is written to `results/demo_rounds.md`. A cell takes some four
minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml
from measuring.surroundings import where

from rsam_app.evaluation.metrics.paired import paired_difference
from rsam_app.system.json_files import read_json
from rsam_app.system.mongodb.connection import import_fiftyone
from rsam_app.system.progress import Reporter
from rsam_app.workflow.demo import run_demo

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--decisions", nargs="+", type=int, default=[60, 3])
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    log = arguments.results / "demo_rounds.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    done = {(row["decisions"], row["seed"]) for row in rows}
    for seed in arguments.seeds:
        for decisions in arguments.decisions:
            if (decisions, seed) not in done:
                rows.append({"decisions": decisions, "seed": seed, **cell(decisions, seed), "environment": where()})
                print({key: value for key, value in rows[-1].items() if key != "environment"}, flush=True)
                with log.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(rows[-1]) + "\n")
                (arguments.results / "demo_rounds.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


def cell(decisions: int, seed: int) -> dict[str, float]:
    """Both runs' figures."""
    with tempfile.TemporaryDirectory() as folder:
        content = yaml.safe_load(run_demo.PIPELINE.read_text(encoding="utf-8"))
        changed = Path(folder) / "pipeline.yaml"
        select = {**content["select"], "budget": decisions}
        changed.write_text(yaml.safe_dump({**content, "seed": seed, "select": select}), encoding="utf-8")
        shipped, run_demo.PIPELINE = run_demo.PIPELINE, changed
        try:
            demo = run_demo.run_demo(Path(folder) / "runs" / "demo", Reporter(), print, simulate_reviewer=True)
        finally:
            run_demo.PIPELINE = shipped
        import_fiftyone().delete_dataset(demo.job.card.name)
        runs = {"first": Path(folder) / "runs" / "demo", "second": demo.job.run.path}
        metrics = {name: read_json(run / "evaluation" / "metrics.json") for name, run in runs.items()}
    figures = {f"{name}_top1": one["top1"] for name, one in metrics.items()}
    figures |= {f"{name}_iou": one["localization"]["mean_iou"] for name, one in metrics.items()}
    return {key: round(value, 4) for key, value in figures.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """The cells, and the mean gain with its 95 % interval for each number of decisions, as Markdown."""
    lines = [
        "# What decisions bring in the demo\n",
        "| decisions | seed | top-1 before | after | IoU before | after |",
        "|---" * 6 + "|",
    ]
    by_decisions: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (-row["decisions"], row["seed"])):
        by_decisions[row["decisions"]].append(row)
        figures = [f"{row[f'{run}_{key}']:.3f}" for key in ("top1", "iou") for run in ("first", "second")]
        lines.append(f"| {row['decisions']} | {row['seed']} | {' | '.join(figures)} |")
    lines.append("")
    for decisions, some in by_decisions.items():
        for key, name in (("top1", "top-1"), ("iou", "IoU")):
            first, second = ({row["seed"]: row[f"{run}_{key}"] for row in some} for run in ("first", "second"))
            gain, better = paired_difference(second, first), sum(second[seed] > first[seed] for seed in first)
            told = f"{gain.mean:+.3f} ± {gain.high - gain.mean:.3f} (p = {gain.p:.2g})" if gain else "one seed"
            lines.append(f"- {decisions} decisions, {name}: {told}; better in {better} of {len(some)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
