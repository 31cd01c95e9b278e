"""Detection of rectangles at the wrong place by the scores that need no ground truth.

    RSAM_DATA=data python benchmarks/misattention.py runs/cub_mobilenetv2 runs/demo

Without arguments it uses those two runs, if they exist. Each run must be predicted (`rsam predict RUN --split all`). On
the test split, every score is measured as a detector of rectangles off the object (rotated IoU below .3 with the true
box, in the dataset of `rsam demo` with the true rotated rectangle), and in that dataset also of images that the planted
shortcut misled: AUROC, AUPRC and precision among the first 100. Runs of one dataset that differ only in their seed are
measured together: each figure is the mean over the runs with something to find. The 95 % intervals are over 1,000
bootstrap samples of the images and, with them, of the runs. The differences of `misattention` from the baselines that
need no attention are paired: both use the same samples.

The figures are added to `benchmarks/results/misattention.json` and printed as tables.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measuring.surroundings import where
from sklearn.metrics import average_precision_score, roc_auc_score

from rsam_app.data.records import Record, by_id
from rsam_app.data.synthetic.planting import read_planted
from rsam_app.evaluation.metrics.ground_truth import image_sizes, mean_box
from rsam_app.evaluation.metrics.rectangles import score_rectangles
from rsam_app.geometry.overlap import box_iou, rotated_iou, upright_edges
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.run.folder import RunFolder
from rsam_app.run.job import Job
from rsam_app.run.predictions import read_predictions
from rsam_app.system.progress import Reporter
from rsam_app.workflow.demo.report import shortcut_victims

RESULTS = Path(__file__).resolve().parent / "results" / "misattention.json"
USUAL = (Path("runs/cub_mobilenetv2"), Path("runs/demo"))
SCORES = (
    "misattention",
    "outside_activation",
    "instability",
    "outside_evidence",
    "unusual_geometry",
    "degeneracy",
)
BASELINES = ("1 - confidence", "distance from the centre box", "random")
MEASURES = ("auroc", "auprc", "precision_at_100")
OFF, FIRST, SAMPLES = 0.3, 100, 1000

Array = np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="run folders")
    parser.add_argument("--split", default="test")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    runs = arguments.runs or [run for run in USUAL if (run / "predictions").is_dir()]
    if not runs:
        print(
            f"no run to measure: give run folders, or make {' and '.join(map(str, USUAL))} with `rsam run` and `demo`"
        )
        return
    content = json.loads(arguments.results.read_text(encoding="utf-8")) if arguments.results.exists() else {}
    for together in of_one_data_set(runs):
        found = measure(together, arguments.split)
        content[found["data_set"] if arguments.split == "test" else f"{found['data_set']} {arguments.split}"] = found
        print(table(found))
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def of_one_data_set(runs: list[Path]) -> list[list[Path]]:
    """Group runs of the same pipeline that differ only in the seed."""
    groups: dict[str, list[Path]] = {}
    for run in runs:
        pipeline = RunFolder(run).load_pipeline()
        groups.setdefault(pipeline.model_copy(update={"seed": 0}).model_dump_json(), []).append(run)
    return list(groups.values())


def measure(runs: list[Path], split: str) -> dict[str, Any]:
    """Measure every detector on every target, for runs that differ only in the seed."""
    jobs = [Job.of_run(run, [], Reporter()) for run in runs]
    first = jobs[0]
    known, training = by_id(first.original.records), list(first.original.split("train"))
    tables = [read_predictions(job.run.predictions, [split]) for job in jobs]
    ids = tables[0].column("id").to_pylist()
    if any(table.column("id").to_pylist() != ids for table in tables):
        raise SystemExit(f"{', '.join(map(str, runs))}: the runs predict other images, or in another order")
    records = [known[i] for i in ids]
    planted = first.card.root_path.with_name("planted.json")
    detectors = [detectors_of(table, records, training) for table in tables]
    targets = [targets_of(table, records, planted) for table in tables]
    return {
        "data_set": "rsam_demo" if "fooled by the shortcut" in targets[0] else first.card.name,
        "model": first.pipeline.model.model_dump(
            mode="json", include={"backbone", "predictor", "gate", "image_size", "second_look"}
        ),
        "frozen_backbone": first.pipeline.train.frozen_backbone,
        "split": split,
        "images": len(records),
        "seeds": [job.pipeline.seed for job in jobs],
        "targets": {
            name: compare([wanted[name] for wanted in targets], detectors)
            for name in targets[0]
            if any(wanted[name].any() for wanted in targets)
        },
        "environment": where(),
    }


def detectors_of(rows: pa.Table, records: list[Record], training: list[Record]) -> dict[str, Array]:
    """Detectors `(N,)`, higher is more suspect; scores that the run lacks are left out."""
    found = {name: column(rows, name) for name in SCORES if name in rows.column_names}
    rectangles, sizes = rectangles_of(rows), image_sizes(records)
    centre = mean_box(training, "boxes")
    found["1 - confidence"] = 1 - column(rows, "confidence")
    if centre is not None:
        found["distance from the centre box"] = 1 - box_iou(
            upright_edges(rectangles, sizes), np.tile(sizes, 2) * centre
        )
    found["random"] = np.random.default_rng(0).random(len(records))
    return {name: values for name, values in found.items() if np.isfinite(values).all()}


def targets_of(rows: pa.Table, records: list[Record], planted: Path) -> dict[str, Array]:
    """Targets `(N,)` to detect."""
    rectangles = rectangles_of(rows)
    scores = score_rectangles(rectangles, records, "boxes", None)
    if len(scores.rows) < len(records):
        raise SystemExit(f"{len(records) - len(scores.rows)} of {len(records)} images have no true box")
    targets = {"rotated IoU with the box below .3": scores.rotated_iou < OFF}
    if planted.exists():
        truth = read_planted(planted)
        images = [truth.images[r.id] for r in records]
        true = np.array([image.rectangle for image in images])
        targets["rotated IoU with the turned rectangle below .3"] = rotated_iou(rectangles, true) < OFF
        predicted = np.array(rows.column("predicted").to_pylist(), dtype=object)
        targets["fooled by the shortcut"] = shortcut_victims(truth, images, predicted)
    return targets


def compare(wanted: list[Array], detectors: list[dict[str, Array]]) -> dict[str, Any]:
    """Figures of each detector, the mean over the runs, with intervals, and of `misattention` minus each baseline on
    the same samples."""
    rng, runs, images = np.random.default_rng(0), len(wanted), len(wanted[0])
    every = np.arange(images)
    names = [name for name in detectors[0] if all(name in found for found in detectors)]

    def mean_figures(rows: Array, of: Array) -> dict[str, list[float]]:
        there = [run for run in of if 0 < wanted[run][rows].sum() < images]
        one = {name: [figures(wanted[run][rows], detectors[run][name][rows]) for run in there] for name in names}
        return {name: np.mean([list(f.values()) for f in found], axis=0).tolist() for name, found in one.items()}

    exact = mean_figures(every, np.arange(runs))
    samples = [(rng.integers(0, images, images), rng.integers(0, runs, runs)) for _ in range(SAMPLES)]
    samples = [(rows, of) for rows, of in samples if any(0 < wanted[run][rows].sum() < images for run in of)]
    each = [mean_figures(rows, of) for rows, of in samples]
    drawn = {name: np.array([found[name] for found in each]) for name in names}
    found: dict[str, Any] = {"wanted": [int(w.sum()) for w in wanted], "detectors": {}, "misattention_minus": {}}
    for name in names:
        found["detectors"][name] = {m: interval(exact[name][i], drawn[name][:, i]) for i, m in enumerate(MEASURES)}
    for name in BASELINES:
        if name in names:
            less = np.array(exact["misattention"]) - exact[name], drawn["misattention"] - drawn[name]
            found["misattention_minus"][name] = {m: interval(less[0][i], less[1][:, i]) for i, m in enumerate(MEASURES)}
    return found


def figures(wanted: Array, score: Array) -> dict[str, float]:
    first = np.argsort(-score, kind="stable")[:FIRST]
    values = roc_auc_score(wanted, score), average_precision_score(wanted, score), wanted[first].mean()
    return dict(zip(MEASURES, map(float, values), strict=True))


def interval(value: float, drawn: Array) -> list[float]:
    """The value, and the 2.5th and 97.5th percentiles over the samples."""
    return [round(float(v), 4) for v in (value, *np.quantile(drawn, [0.025, 0.975]))]


def rectangles_of(rows: pa.Table) -> Array:
    return np.stack([column(rows, name) for name in RECTANGLE_FIELDS], axis=1)


def column(rows: pa.Table, name: str) -> Array:
    return np.asarray(rows.column(name).cast(pa.float64()).to_numpy())


def table(found: dict[str, Any]) -> str:
    seeds = f"{len(found['seeds'])} seed{'s' if len(found['seeds']) > 1 else ''}"
    lines = [f"\n## {found['data_set']}, {found['images']} images of {found['split']}, {seeds}"]
    for target, entry in found["targets"].items():
        lines += [
            f"\n{target}: {', '.join(map(str, entry['wanted']))}\n",
            "| | AUROC | AUPRC | precision at 100 |",
            "|---|---|---|---|",
        ]
        for name, values in entry["detectors"].items():
            lines.append(f"| {name} | " + " | ".join(shown(v) for v in values.values()) + " |")
        for name, values in entry["misattention_minus"].items():
            lines.append(f"| misattention less {name} | " + " | ".join(shown(v, "+") for v in values.values()) + " |")
    return "\n".join(lines)


def shown(values: list[float], sign: str = "") -> str:
    return "{0:{s}.3f} [{1:{s}.3f}, {2:{s}.3f}]".format(*values, s=sign)


if __name__ == "__main__":
    main()
