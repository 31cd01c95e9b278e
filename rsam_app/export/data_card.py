"""What stands beside every export: a data card for people, every record's history as CSV, and checksums."""

from __future__ import annotations

import csv
import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rsam_app.data.records import SPLITS
from rsam_app.export.items import ExportItem, Mode, Source, Written

CHECKSUMS = "checksums.sha256"
COLUMNS = ("file", "id", "split", "label", "label_in_data_set", "predicted", "confidence")
RECTANGLE = ("cx", "cy", "width", "height", "angle", "rectangle_by")


def write_records(folder: Path, items: Sequence[ExportItem], files: Sequence[str]) -> None:
    """Write `records.csv`: for each file its record, labels before and after, prediction, rectangle (image pixels,
    radians) and tags (separated by `;`)."""
    with (folder / "records.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*COLUMNS, *RECTANGLE, "tags"])
        for item, file in zip(items, files, strict=True):
            record = item.record
            labels = [record.split, item.label, record.label, item.predicted, item.confidence]
            rectangle = item.rectangle or ("",) * 5
            writer.writerow([file, record.id, *labels, *rectangle, item.rectangle_by, ";".join(item.tags)])


def write_card(
    folder: Path, out: Path, items: Sequence[ExportItem], source: Source, made: tuple[str, Mode], written: Written
) -> None:
    """Write `DATA_CARD.md`; `made` is (format, mode), `out` where the export will lie."""
    text = [
        f"# {_cell(source.dataset)}: {_cell(source.tag)}",
        "",
        *_facts(items, source, made),
        "",
        "## Images by class and split",
        "",
        *_counts(items, source),
        "",
        "## Reading it",
        "",
        *_reading(out, items, source, written),
        "",
        "## What to know",
        "",
        *(f"- {note}" for note in [*written.notes, *_always(made[1])]),
        "",
    ]
    (folder / "DATA_CARD.md").write_text("\n".join(text), encoding="utf-8")


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of the export, as `sha256sum -c` reads them."""
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _facts(items: Sequence[ExportItem], source: Source, made: tuple[str, Mode]) -> list[str]:
    relabelled = [i for i in items if i.label != i.record.label]
    drawn = [sum(i.rectangle_by == who for i in items) for who in ("person", "model", "")]
    rows = {
        "dataset": source.dataset,
        "licence": source.licence,
        "run": source.run,
        "tag": source.tag,
        "exported": time.strftime("%Y-%m-%d", time.gmtime()) + f" as {made[0]}, {made[1]}",
        "images": f"{len(items)} of {len({i.label for i in items})} classes",
        "labels a person changed": _share_of_test(relabelled),
        "rectangles": f"{drawn[0]} by a person, {drawn[1]} by the model, {drawn[2]} images without",
    }
    return ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows.items())]


def _share_of_test(relabelled: Sequence[ExportItem]) -> str:
    in_test = sum(i.record.split == "test" for i in relabelled)
    return f"{len(relabelled)}" + (f", {in_test} of them in the test split" if in_test else "")


def _counts(items: Sequence[ExportItem], source: Source) -> list[str]:
    counts = Counter((i.label, i.record.split) for i in items)
    used = {i.label for i in items}
    lines = [f"| class | {' | '.join(SPLITS)} | all |", "|---|" + "---:|" * (len(SPLITS) + 1)]
    for label in [c for c in source.classes if c in used]:
        of_class = [counts[label, split] for split in SPLITS]
        lines.append(f"| {_cell(label)} | {' | '.join(map(str, of_class))} | {sum(of_class)} |")
    totals = [sum(i.record.split == split for i in items) for split in SPLITS]
    return [*lines, f"| **all** | {' | '.join(map(str, totals))} | {len(items)} |"]


def _reading(out: Path, items: Sequence[ExportItem], source: Source, written: Written) -> list[str]:
    if not written.reading.startswith("layout:"):
        called = written.reading.format(out=repr(out.name))
        return ["From the folder that holds this one:", "", "```python", *called.splitlines(), "```"]
    reading = written.reading.format(out=out.name.replace("'", "''"))
    present = [s for s in SPLITS if any(i.record.split == s for i in items)]
    # A card must name a split to train on; an export of test images alone trains on those.
    named = {("train" if "train" not in present and k == 0 else s): s for k, s in enumerate(present)}
    splits = ", ".join(f"{ours}: {theirs}" for ours, theirs in named.items())
    card = [f"name: {source.dataset}-curated", *reading.splitlines(), f"licence: {_quoted(source.licence)}"]
    return [
        "As a card of rsam; `root` starts from the folder RSAM_DATA:",
        "",
        "```yaml",
        *card,
        f"splits: {{{splits}}}",
        "```",
    ]


def _always(mode: Mode) -> list[str]:
    notes = [
        "`records.csv` has for each file its record, label before and after, prediction, rectangle and tags.",
        f"`sha256sum -c {CHECKSUMS}` checks every file.",
        "Boxes and rectangles are in pixels of the image as displayed, EXIF orientation applied.",
    ]
    if mode == "hardlink":
        notes.append("The images are hard links: editing one in place edits the original.")
    if mode == "symlink":
        notes.append("The images are symbolic links: they break when the originals move.")
    return notes


def _quoted(text: str) -> str:
    return "'" + " ".join(text.split()).replace("'", "''") + "'"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
