"""`rsam export`: the images that carry a tag in FiftyOne, as a curated subset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsam_app.export import ExportReport, Source
from rsam_app.export.deduplicate import find_duplicate_groups, resplit, without_duplicates
from rsam_app.export.items import collect
from rsam_app.export.subset import export
from rsam_app.run.corrections import corrections_path, read_corrections
from rsam_app.run.job import Job


@dataclass(frozen=True)
class CurateReport:
    """What was exported."""

    export: ExportReport

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return vars(self.export)

    def text(self) -> str:
        """For a person."""
        made = self.export
        splits = ", ".join(f"{n} {split}" for split, n in made.splits.items())
        return "\n".join([f"{made.out}: {made.images} images of {made.classes} classes ({splits})", *made.notes])


def export_tagged(
    job: Job,
    tag: str,
    format: str,
    out: Path,
    mode: str,
    *,
    drop_duplicates: bool = False,
    test_share: float | None = None,
) -> CurateReport:
    """Export the records tagged `tag`, with the labels and rectangles that hold now.

    With `drop_duplicates` one of each group of near-duplicates; with `test_share` in new splits that part no
    near-duplicates. Raises `UserError`.
    """
    from rsam_app.review.tagging import tagged_ids

    dataset = job.original
    ids = tagged_ids(dataset.name, tag)
    corrections = read_corrections(corrections_path(job.run.path, dataset.name))
    items = collect(job.run, dataset, ids, corrections, {i: (tag,) for i in ids})
    notes: list[str] = []
    if without := [item for item in items if not item.label]:
        notes.append(f"{len(without)} images without a label are left out, e.g. {without[0].record.id}")
        items = [item for item in items if item.label]
    if (drop_duplicates or test_share is not None) and items:
        with job.reporter.bars() as advance:
            twins = find_duplicate_groups([item.record for item in items], dataset.records, advance)
        notes += twins.notes
        if drop_duplicates:
            items, note = without_duplicates(items, twins)
            notes.append(note)
        if test_share is not None:
            items, note = resplit(items, twins, test_share, job.pipeline.seed)
            notes.append(note)
    source = Source(dataset.name, dataset.licence, dataset.classes, str(job.run.path), tag)
    return CurateReport(export(items, format, out, mode, source=source, notes=notes))  # type: ignore[arg-type]
