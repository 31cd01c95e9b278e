"""Do truth-free scores find the images where the model looked at the wrong place?

    RSAM_DATA=../shared/data python benchmarks/misattention.py runs/cub_mobilenetv2 runs/demo

Without runs it takes those two, where they are. Each run must be predicted (`rsam predict RUN --split all`). On its
test split every score is measured as a detector of rectangles off the object (rotated IoU below .3 with the true box)
and, where the data is `rsam demo`'s, with the true turned rectangle, and of images that the planted shortcut misled:
AUROC, AUPRC and precision among the first 100, with 95 % intervals over 1,000 bootstrap samples of the images. The
differences of `misattention` from what needs no attention are paired: the same samples for both.

Goes to `benchmarks/results/misattention.json`, beside figures of other data sets, and is printed as tables.
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
from rsam_app.demo.findings import shortcut_victims
from rsam_app.demo.planting import read_planted
from rsam_app.evaluation.overlap import box_iou, rotated_iou, upright_edges
from rsam_app.evaluation.rectangle_scores import score_rectangles
from rsam_app.evaluation.truth import image_sizes, mean_box
from rsam_app.job import Job
from rsam_app.predictions import read_predictions
from rsam_app.progress import Reporter

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
    for run in runs:
        found = measure(run, arguments.split)
        content[found["data_set"] if arguments.split == "test" else f"{found['data_set']} {arguments.split}"] = found
        print(table(found))
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def measure(run: Path, split: str) -> dict[str, Any]:
    """Every detector on every target of one run's split."""
    job = Job.of_run(run, [], Reporter())
    rows = read_predictions(job.run.predictions, [split])
    known = by_id(job.original.records)
    records = [known[i] for i in rows.column("id").to_pylist()]
    detectors = detectors_of(rows, records, list(job.original.split("train")))
    targets = targets_of(rows, records, job.card.root_path.with_name("planted.json"))
    return {
        "data_set": "rsam_demo" if "fooled by the shortcut" in targets else job.card.name,
        "model": job.pipeline.model.model_dump(mode="json", include={"backbone", "predictor", "gate", "image_size"}),
        "frozen_backbone": job.pipeline.train.frozen_backbone,
        "split": split,
        "images": len(records),
        "targets": {name: compare(wanted, detectors) for name, wanted in targets.items()},
        "environment": where(),
    }


def detectors_of(rows: pa.Table, records: list[Record], training: list[Record]) -> dict[str, Array]:
    """Larger is more suspect, `(N,)` each; scores that the run lacks are left out."""
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
    """What should be found, `(N,)` each."""
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


def compare(wanted: Array, detectors: dict[str, Array]) -> dict[str, Any]:
    """Figures of each detector with intervals, and of `misattention` less each baseline on the same samples."""
    rng = np.random.default_rng(0)
    samples = [rng.integers(0, len(wanted), len(wanted)) for _ in range(SAMPLES)]
    samples = [rows for rows in samples if 0 < wanted[rows].sum() < len(wanted)]
    exact = {name: figures(wanted, values) for name, values in detectors.items()}
    drawn = {
        name: np.array([list(figures(wanted[rows], values[rows]).values()) for rows in samples])
        for name, values in detectors.items()
    }
    measures = list(next(iter(exact.values())))
    found: dict[str, Any] = {"wanted": int(wanted.sum()), "detectors": {}, "misattention_minus": {}}
    for name in detectors:
        found["detectors"][name] = {m: interval(exact[name][m], drawn[name][:, i]) for i, m in enumerate(measures)}
    for name in BASELINES:
        if name in detectors:
            found["misattention_minus"][name] = {
                m: interval(exact["misattention"][m] - exact[name][m], drawn["misattention"][:, i] - drawn[name][:, i])
                for i, m in enumerate(measures)
            }
    return found


def figures(wanted: Array, score: Array) -> dict[str, float]:
    first = np.argsort(-score, kind="stable")[:FIRST]
    return {
        "auroc": float(roc_auc_score(wanted, score)),
        "auprc": float(average_precision_score(wanted, score)),
        "precision_at_100": float(wanted[first].mean()),
    }


def interval(value: float, drawn: Array) -> list[float]:
    """The value, and the 2.5th and 97.5th percentiles over the samples."""
    return [round(float(v), 4) for v in (value, *np.quantile(drawn, [0.025, 0.975]))]


def rectangles_of(rows: pa.Table) -> Array:
    return np.stack([column(rows, name) for name in ("cx", "cy", "width", "height", "angle")], axis=1)


def column(rows: pa.Table, name: str) -> Array:
    return rows.column(name).cast(pa.float64()).to_numpy()


def table(found: dict[str, Any]) -> str:
    lines = [f"\n## {found['data_set']}, {found['images']} images of {found['split']}"]
    for target, entry in found["targets"].items():
        lines += [f"\n{target}: {entry['wanted']}\n", "| | AUROC | AUPRC | precision at 100 |", "|---|---|---|---|"]
        for name, values in entry["detectors"].items():
            lines.append(f"| {name} | " + " | ".join(shown(v) for v in values.values()) + " |")
        for name, values in entry["misattention_minus"].items():
            lines.append(f"| misattention less {name} | " + " | ".join(shown(v, "+") for v in values.values()) + " |")
    return "\n".join(lines)


def shown(values: list[float], sign: str = "") -> str:
    return "{0:{s}.3f} [{1:{s}.3f}, {2:{s}.3f}]".format(*values, s=sign)


if __name__ == "__main__":
    main()
