"""A summary of a dataset in a few lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from rsam_app.data.records import SPLITS, UNLABELLED, Dataset, Record, Skipped

LISTED = 10
"""Left-out files that are listed; the others are only counted."""


def describe(dataset: Dataset) -> str:
    """Describe images, classes, boxes and masks by split, the licence, the files left out and why, and the notes."""
    rows: list[tuple[str, ...]] = [("split", "images", "classes", "boxes", "images with boxes", "masks")]
    rows += [(name, *_counts(dataset.split(name))) for name in SPLITS]
    if unlabelled := dataset.split(UNLABELLED):
        rows.append((UNLABELLED, *_counts(unlabelled)))
    rows.append(("all", *_counts(dataset.records)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = []
    for name, *numbers in rows:
        cells = (number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True))
        table.append("  ".join(["", name.ljust(widths[0]), *cells]))
    return "\n".join(
        [
            f"{dataset.name}: {len(dataset.records):,} images, {len(dataset.classes):,} classes",
            *table,
            f"licence: {dataset.licence}",
            *_left_out("images", dataset.skipped),
            *_left_out("masks", dataset.skipped_masks),
            *(f"note: {note}" for note in dataset.notes),
        ]
    )


def _counts(records: Sequence[Record]) -> tuple[str, ...]:
    counts = (
        len(records),
        len({r.label for r in records if r.label}),
        sum(len(r.boxes) for r in records),
        sum(bool(r.boxes) for r in records),
        sum(r.mask is not None for r in records),
    )
    return tuple(f"{n:,}" for n in counts)


def _left_out(what: str, skipped: Sequence[Skipped]) -> list[str]:
    if not skipped:
        return []
    lines = [f"left out: {len(skipped):,} {what}"] + [f"  {s.path}: {s.reason}" for s in skipped[:LISTED]]
    return lines + ([f"  and {len(skipped) - LISTED:,} more"] if len(skipped) > LISTED else [])
