"""Files beside every export: a data card, the history of every record as CSV, and checksums."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rsam_app.data.records import SPLITS
from rsam_app.export.items import ExportItem, Mode, Source, Written
from rsam_app.geometry.types import RECTANGLE_FIELDS
from rsam_app.system.files import sha256_of
from rsam_app.system.markdown import as_text
from rsam_app.system.spreadsheets import csv_cell

CHECKSUMS = "checksums.sha256"
COLUMNS = ("file", "id", "split", "label", "label_in_data_set", "predicted", "confidence")


def write_records(folder: Path, items: Sequence[ExportItem], files: Sequence[str]) -> None:
    """Write `records.csv`: for each file its record, labels before and after, prediction, rectangle (image pixels,
    radians) and tags (separated by `;`). Text that a spreadsheet would take for a formula begins with `'`."""
    with (folder / "records.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*COLUMNS, *RECTANGLE_FIELDS, "rectangle_by", "tags"])
        for item, file in zip(items, files, strict=True):
            record = item.record
            labels = [record.split, item.label, record.label, item.predicted, item.confidence]
            rectangle = item.rectangle or ("",) * 5
            row = [file, record.id, *labels, *rectangle, item.rectangle_by, ";".join(item.tags)]
            writer.writerow(map(csv_cell, row))


def write_card(
    folder: Path, out: Path, items: Sequence[ExportItem], source: Source, form: tuple[str, Mode], written: Written
) -> None:
    """Write `DATA_CARD.md`; `form` is (format, mode), `out` the export's final folder."""
    text = [
        f"# {_table_cell(source.dataset)}: {_table_cell(source.tag)}",
        "",
        *_facts(items, source, form),
        "",
        "## Images by class and split",
        "",
        *_counts(items, source),
        "",
        "## Loading",
        "",
        *_reading(out, items, source, written),
        "",
        "## Notes",
        "",
        *(f"- {as_text(note)}" for note in written.notes),
        *(f"- {note}" for note in _standard_notes(form[1])),
        "",
        *_left_out(source),
    ]
    (folder / "DATA_CARD.md").write_text("\n".join(text), encoding="utf-8")


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of the export, as `sha256sum -c` reads them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _facts(items: Sequence[ExportItem], source: Source, form: tuple[str, Mode]) -> list[str]:
    relabelled = [i for i in items if i.label != i.record.label]
    drawn = [sum(i.rectangle_by == author for i in items) for author in ("person", "model", "")]
    rows = {
        "dataset": source.dataset,
        "licence": source.licence,
        "run": source.run,
        "tag": source.tag,
        "exported": time.strftime("%Y-%m-%d", time.gmtime()) + f" as {form[0]}, {form[1]}",
        "images": f"{len(items)} of {len({i.label for i in items})} classes",
        "labels changed by reviewers": _count_with_test(relabelled),
        "rectangles": f"{drawn[0]} by reviewers, {drawn[1]} by the model, {drawn[2]} images without",
    }
    return ["| | |", "|---|---|", *(f"| {name} | {_table_cell(value)} |" for name, value in rows.items())]


def _count_with_test(relabelled: Sequence[ExportItem]) -> str:
    in_test = sum(i.record.split == "test" for i in relabelled)
    return f"{len(relabelled)}" + (f", {in_test} of them in the test split" if in_test else "")


def _counts(items: Sequence[ExportItem], source: Source) -> list[str]:
    counts = Counter((i.label, i.record.split) for i in items)
    used = {i.label for i in items}
    lines = [f"| class | {' | '.join(SPLITS)} | all |", "|---|" + "---:|" * (len(SPLITS) + 1)]
    for label in [c for c in source.classes if c in used]:
        of_class = [counts[label, split] for split in SPLITS]
        lines.append(f"| {_table_cell(label)} | {' | '.join(map(str, of_class))} | {sum(of_class)} |")
    totals = [sum(i.record.split == split for i in items) for split in SPLITS]
    return [*lines, f"| **all** | {' | '.join(map(str, totals))} | {len(items)} |"]


def _reading(out: Path, items: Sequence[ExportItem], source: Source, written: Written) -> list[str]:
    if not written.reading.startswith("layout:"):
        code = written.reading.format(out=repr(out.name))
        return ["From the parent folder:", "", "```python", *code.splitlines(), "```"]
    reading = written.reading.format(out=out.name.replace("'", "''"))
    present = [s for s in SPLITS if any(i.record.split == s for i in items)]
    # A card must name a training split; an export without one trains on its first split.
    named = {("train" if "train" not in present and k == 0 else s): s for k, s in enumerate(present)}
    splits = ", ".join(f"{split}: {exported}" for split, exported in named.items())
    card = [f"name: {source.dataset}-curated", *reading.splitlines(), f"licence: {_quoted(source.licence)}"]
    return [
        "As an rsam card; `root` is relative to the folder RSAM_DATA:",
        "",
        "```yaml",
        *card,
        f"splits: {{{splits}}}",
        "```",
    ]


def _standard_notes(mode: Mode) -> list[str]:
    notes = [
        "`records.csv` lists for each file its record, label before and after, prediction, rectangle and tags.",
        f"`sha256sum -c {CHECKSUMS}` checks every file.",
        "Boxes and rectangles are in pixels of the image as displayed, EXIF orientation applied.",
    ]
    if mode == "hardlink":
        notes.append("The images are hard links: editing one in place edits the original.")
    if mode == "symlink":
        notes.append("The images are symbolic links: they break if the originals move.")
    return notes


def _left_out(source: Source) -> list[str]:
    if not source.left_out:
        return []
    return ["## Left out of the dataset", "", *(f"- {as_text(line)}" for line in source.left_out), ""]


def _quoted(text: str) -> str:
    return "'" + " ".join(text.split()).replace("'", "''") + "'"


def _table_cell(text: str) -> str:
    return as_text(text).replace("|", "\\|")
