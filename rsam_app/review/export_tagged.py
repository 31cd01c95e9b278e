"""`rsam export`: the images with a tag in FiftyOne as a curated subset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsam_app.export import ExportReport, Source
from rsam_app.export.deduplicate import find_duplicate_groups, resplit, without_duplicates
from rsam_app.export.items import collect
from rsam_app.export.subset import check_request, export
from rsam_app.review.tagging import tagged_ids
from rsam_app.run.corrections import corrections_path, new_classes, read_corrections, under_present_names
from rsam_app.run.job import Job


@dataclass(frozen=True)
class TaggedExport:
    """Result of `export_tagged`."""

    export: ExportReport

    def as_dict(self) -> dict[str, Any]:
        """Return the report for `--json`."""
        return vars(self.export)

    def text(self) -> str:
        """Return the report as text."""
        report = self.export
        splits = ", ".join(f"{n} {split}" for split, n in report.splits.items())
        summary = f"{report.out}: {report.images} images of {report.classes} classes ({splits})"
        return "\n".join([summary, *report.notes])


def export_tagged(
    job: Job,
    tag: str,
    format: str,
    out: Path,
    mode: str,
    *,
    drop_duplicates: bool = False,
    test_share: float | None = None,
) -> TaggedExport:
    """Export the records tagged `tag`, with their current labels and rectangles.

    `drop_duplicates` exports one image of each group of near-duplicates. `test_share` makes new splits, with
    near-duplicates in the same one. Raises `UserError`.
    """
    check_request(format, out, mode)
    table = read_corrections(corrections_path(job.run.path, job.original.name))
    dataset, corrections = under_present_names(job.original, table)
    ids = tagged_ids(job.review_dataset, tag)
    known = {record.id for record in dataset.records}
    notes: list[str] = []
    # Without any of them, `collect` says what to do.
    if (vanished := [i for i in ids if i not in known]) and len(vanished) < len(ids):
        names = ", ".join(vanished[:3]) + (" …" if len(vanished) > 3 else "")
        notes.append(f"{len(vanished)} tagged images are left out, as their files are not in the dataset now: {names}")
        ids = [i for i in ids if i in known]
    items = collect(job.run, dataset, ids, corrections, {i: (tag,) for i in ids})
    if unlabelled := [item for item in items if not item.label]:
        notes.append(f"{len(unlabelled)} images without a label are left out, e.g. {unlabelled[0].record.id}")
        items = [item for item in items if item.label]
    if (drop_duplicates or test_share is not None) and items:
        with job.reporter.bars() as advance:
            duplicates = find_duplicate_groups([item.record for item in items], dataset.records, advance)
        notes += duplicates.notes
        if drop_duplicates:
            items, note = without_duplicates(items, duplicates)
            notes.append(note)
        if test_share is not None:
            items, note = resplit(items, duplicates, test_share, job.pipeline.seed)
            notes.append(note)
    used = {item.label for item in items}
    classes = (*dataset.classes, *new_classes(dataset.classes, corrections, used))
    source = Source(dataset.name, dataset.licence, classes, str(job.run.path), tag, _left_out(job))
    return TaggedExport(export(items, format, out, mode, source=source, notes=notes))  # type: ignore[arg-type]


def _left_out(job: Job) -> tuple[str, ...]:
    left_out = job.left_out(job.original)
    images = [f"image {path}: {reason}" for path, reason in left_out["skipped"]]
    masks = [f"mask {path}: {reason}" for path, reason in left_out["skipped_masks"]]
    return (*images, *masks, *left_out["notes"])
