"""`rsam compare`: two evaluated runs on the images that both evaluated, as a page, JSON and a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rsam_app.run.job import Job
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically

if TYPE_CHECKING:
    from rsam_app.data.records import Dataset
    from rsam_app.evaluation.metrics.prediction_arrays import PredictionArrays


@dataclass(frozen=True)
class Comparison:
    """A written comparison: its page, its figures as in `comparison.json`, and the runs' names."""

    page: Path
    figures: dict[str, Any]
    names: Mapping[str, str]

    @property
    def exceeds_limit(self) -> bool:
        """Whether attention fell by more than the limit that was given, if any."""
        limit = self.figures["attention_limit"]
        return bool(limit and limit["exceeded"])

    def limit_line(self) -> str:
        """The fall of attention, and its limit, in a line."""
        from rsam_app.evaluation.report.comparison_lines import limit_text

        return limit_text(self.figures)

    def text(self) -> str:
        """The table and the findings for the terminal."""
        from rsam_app.evaluation.report.comparison_lines import findings, table_rows

        cells = [["", self.names["first"], self.names["second"], "difference", "95 % interval"]]
        cells += [[r.name, r.first, r.second, r.difference, r.interval] for r in table_rows(self.figures)]
        widths = [max(len(row[column]) for row in cells) for column in range(5)]
        table = [f"{row[0]:<{widths[0]}}" + "".join(f"  {row[c]:>{widths[c]}}" for c in range(1, 5)) for row in cells]
        heading = f"{self.figures['dataset']}, {self.figures['split']}: {self.figures['n']:,} images in both runs"
        lines = [text for _, text in findings(self.figures, self.names)]
        return "\n".join([heading, *(line.rstrip() for line in table), *lines, f"page: {self.page}"])


def compare(first: Job, second: Job, output: Path | None = None, max_attention_drop: float | None = None) -> Comparison:
    """Compare two evaluated runs, and write `comparison.html` and `comparison.json` into `output`.

    Labels and truth are those of the second run's dataset, corrections applied. Raises `UserError` if the runs cannot
    be compared, or if there is a limit but nothing to measure attention with.
    """
    if max_attention_drop is not None and not 0 <= max_attention_drop <= 1:
        raise UserError(f"--max-attention-drop {max_attention_drop}: is not an IoU. Give a number from 0 to 1.")
    split = _shared_split(first, second)
    folder = output or second.run.path / f"compare-with-{first.run.path.resolve().name}"
    figures, arrays = _figures(first, second, split)
    figures["attention_limit"] = _limit(figures, second, max_attention_drop)
    return _write(folder, figures, arrays, _names(first, second))


def write_changes(comparison: Comparison, first: Job, second: Job) -> str:
    """Write how each changed image changed into FiftyOne, and save a view of them; returns a line about it."""
    from rsam_app.evaluation.metrics.comparison import change_by_id
    from rsam_app.review.analysis.compare_runs import write_changes
    from rsam_app.review.dataset.schema import open_review

    review_set = open_review(second.review_dataset)
    key_a, key_b = (job.review_key for job in (first, second))
    view, number = write_changes(review_set, key_a, key_b, change_by_id(comparison.figures))
    return f"FiftyOne dataset {review_set.name!r}: saved view {view!r} with {number:,} changed images"


def _names(first: Job, second: Job) -> dict[str, str]:
    """The names of the two run folders; their paths if the names are equal."""
    paths = {"first": first.run.path, "second": second.run.path}
    names = {run: path.resolve().name for run, path in paths.items()}
    return names if names["first"] != names["second"] else {run: str(path) for run, path in paths.items()}


def _shared_split(first: Job, second: Job) -> str:
    """The split that both runs evaluated. Raises `UserError` if the runs are one, or of different datasets."""
    if first.run.path.resolve() == second.run.path.resolve():
        raise UserError(f"{first.run.path}: is given twice. Give two runs to compare.")
    splits = [_evaluated_split(job) for job in (first, second)]
    if first.card.name != second.card.name:
        raise UserError(
            f"{first.run.path} is a run on the dataset {first.card.name}, {second.run.path} on {second.card.name}.\n"
            "Give two runs on one dataset."
        )
    if splits[0] != splits[1]:
        raise UserError(
            f"{first.run.path} was evaluated on {splits[0]}, {second.run.path} on {splits[1]}.\n"
            f"Run `rsam evaluate {first.run.path} --split {splits[1]}`, or the second with --split {splits[0]}."
        )
    return splits[0]


def _evaluated_split(job: Job) -> str:
    metrics = job.run.read_metrics()
    if "evaluate" not in job.run.finished_stages or metrics is None:
        raise UserError(f"{job.run.path}: is not evaluated yet. Run `rsam evaluate {job.run.path}` first.")
    return str(metrics["split"])


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot create this folder ({error}). Give another with --output.") from error


def _figures(first: Job, second: Job, split: str) -> tuple[dict[str, Any], tuple[PredictionArrays, PredictionArrays]]:
    from rsam_app.data.records import by_id
    from rsam_app.evaluation.metrics.attention_truth import with_true_boxes
    from rsam_app.evaluation.metrics.comparison import compare_arrays
    from rsam_app.run.predictions import read_predictions

    jobs = {"first": first, "second": second}
    classes = _shared_classes(first, second)
    tables = {name: read_predictions(job.run.predictions, [split]) for name, job in jobs.items()}
    for name, table in tables.items():
        if set(table.column("split").to_pylist()) - {split}:
            run = jobs[name].run
            raise UserError(
                f"{run.predictions / split}.parquet: is damaged (it has rows of other splits).\n"
                f"Run `rsam predict {run.path} --split {split}` again."
            )
    ids = {name: table.column("id").to_pylist() for name, table in tables.items()}
    both = set(ids["first"]) & set(ids["second"])
    known = by_id(second.corrected.dataset.records)
    shared = [i for i in ids["second"] if i in both and i in known]
    if not shared:
        raise UserError(
            f"{first.run.path} and {second.run.path}: no image of the split {split} was evaluated by both.\n"
            "Run `rsam evaluate` on both with the present dataset."
        )
    records, sources = with_true_boxes([known[i] for i in shared], second.corrected.targets)
    dataset = replace(second.corrected.dataset, records=records)
    parts = {name: _rows_of(table, shared) for name, table in tables.items()}
    before, now = (_arrays(jobs[name].run.path, parts[name], dataset, split, classes) for name in jobs)
    figures: dict[str, Any] = {"dataset": dataset.name, "split": split}
    for name, job in jobs.items():
        was, is_ = parts[name].column("label").to_pylist(), [record.label for record in dataset.records]
        figures[name] = {
            "run": str(job.run.path),
            "only_here": len(ids[name]) - len(both),
            "relabelled": sum(old != new for old, new in zip(was, is_, strict=True)),
        }
    figures["removed"] = len(both) - len(shared)
    return figures | compare_arrays(before, now, sources, classes), (before, now)


def _shared_classes(first: Job, second: Job) -> tuple[str, ...]:
    """The class names of both models, in the order of their logits."""
    from rsam_app.run.predictions import class_names

    names = [class_names(job.run) or job.corrected.dataset.classes for job in (first, second)]
    if names[0] == names[1]:
        return names[0]
    only = sorted(set(names[0]) ^ set(names[1]))
    detail = f"{len(only):,} are in one only, e.g. {only[0]!r}" if only else "they are in another order"
    raise UserError(
        f"{first.run.path} has {len(names[0])} classes, {second.run.path} has {len(names[1])}: {detail}.\n"
        "Train both runs on the same classes."
    )


def _rows_of(table: pa.Table, ids: list[str]) -> pa.Table:
    """The rows of these records, in this order."""
    row_of = {record_id: row for row, record_id in enumerate(table.column("id").to_pylist())}
    return table.take([row_of[record_id] for record_id in ids])


def _arrays(run: Path, table: pa.Table, dataset: Dataset, split: str, classes: tuple[str, ...]) -> PredictionArrays:
    """The rows of the dataset's records as arrays, with the labels of these records."""
    from rsam_app.evaluation.metrics.prediction_arrays import split_arrays

    labels = pa.array([record.label for record in dataset.records], pa.string())
    relabelled = table.set_column(table.schema.get_field_index("label"), "label", labels)
    try:
        return split_arrays(relabelled, dataset, split, classes)
    except UserError as error:
        raise UserError(f"{run}: {error}") from error


def _limit(figures: Mapping[str, Any], second: Job, max_drop: float | None) -> dict[str, Any] | None:
    from rsam_app.evaluation.metrics.comparison import attention_limit

    if max_drop is None:
        return None
    if figures["attention"] is None:
        raise UserError(
            f"--max-attention-drop: {second.card.name} has nothing to measure attention with:"
            f" {figures['absent']['attention']}.\n"
            "Add boxes or masks to the dataset, or leave the option out."
        )
    return attention_limit(figures["attention"], max_drop)


def _write(
    folder: Path,
    figures: dict[str, Any],
    arrays: tuple[PredictionArrays, PredictionArrays],
    names: Mapping[str, str],
) -> Comparison:
    from rsam_app.evaluation.report.write_comparison import write_comparison

    _create(folder)
    write_atomically(folder / "comparison.json", json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    return Comparison(write_comparison(folder, figures, *arrays, names), figures, names)
