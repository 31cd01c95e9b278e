"""`rsam import-fiftyone`: writes a FiftyOne dataset as a manifest and a card.

The dataset is read once, here, and training reads the files. A layout that reads the database would require FiftyOne on
every training node, and labels could change between a run and its resumption.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from rsam_app.data.images.decoding import DECODE_ERRORS, displayed_size
from rsam_app.export.staging import staged
from rsam_app.geometry.types import Box
from rsam_app.review.dataset.enter import load_images, refuse_other_kinds
from rsam_app.system.errors import UserError, suggest
from rsam_app.system.spreadsheets import csv_cell

HEADER = ("path", "label", "split", "x", "y", "width", "height")
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
"""The splits, and their names in tags and fields."""


@dataclass(frozen=True)
class Imported:
    """Result of `import_dataset`."""

    card: str
    images: int
    classes: int
    boxes: int
    splits: dict[str, int]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the values for `--json`."""
        return asdict(self)

    def text(self) -> str:
        """Return the lines for the user."""
        return "\n".join([*self.notes, self.summary(), f"In a pipeline: `dataset: {self.card}`"])

    def summary(self) -> str:
        """Return one line about what was written."""
        splits = ", ".join(f"{n:,} {split}" for split, n in self.splits.items()) or "no splits"
        return f"{self.card}: {self.images:,} images of {self.classes:,} classes ({splits}), {self.boxes:,} boxes"


@dataclass(frozen=True)
class _Sample:
    path: str
    label: str
    split: str
    relative: tuple[Box, ...]


def import_dataset(
    name: str,
    out: Path,
    label: str | None = None,
    boxes: str | None = None,
    split: str | None = None,
    view: Any = None,
    again: bool = False,
) -> Imported:
    """Write `out/manifest.csv` and `out/CARD.yaml` for a FiftyOne dataset of images; the images are not copied.

    `label` is a Classification or text field (default: `ground_truth`, or the only Classification), `boxes` a
    Detections field, `split` a text field; without it, tags such as `train` and `test` are the splits. `view` is the
    name of a saved view, or a view, to which samples are restricted. `again` replaces what an earlier call wrote.

    Boxes are converted to pixels of the image as displayed. Training samples without a label become unlabelled images.
    Unlabelled samples of other splits, and labelled ones without a split in a dataset with splits, are left out and
    counted. Raises `UserError`.
    """
    dataset = _open(name, view)
    label = label or _label_field(name, dataset)
    samples, notes = _joined(_with_splits(name, _read(name, dataset, label, boxes, split), split))
    splits = dict(sorted(Counter(s.split for s in samples if s.split).items()))
    card: dict[str, Any] = {
        "name": card_name(name),
        "layout": "manifest",
        "root": str(out.absolute() / "manifest.csv"),
    }
    named, split_notes = _card_splits(name, splits)
    card |= {"licence": str(dataset.info.get("licence") or "not stated"), **({"splits": named} if named else {})}
    if again:
        _remove_earlier(out, f"{card['name']}.yaml")
    with staged(out) as folder:
        written, box_notes = _write(folder / "manifest.csv", samples, bool(splits))
        origin = f"# From the FiftyOne dataset {name!r}, labels of {label!r}, " + (
            f"boxes of {boxes!r}" if boxes else "no boxes"
        )
        text = f"{origin}\n{yaml.safe_dump(card, sort_keys=False, allow_unicode=True)}"
        (folder / f"{card['name']}.yaml").write_text(text, encoding="utf-8")
    path = str(out / f"{card['name']}.yaml")
    classes = len({s.label for s in samples if s.label})
    return Imported(path, len(samples), classes, written, splits, (*notes, *split_notes, *box_notes))


def _open(name: str, view: Any) -> Any:
    """Return the samples to read: those of the dataset, or of a view of it, saved or not."""
    dataset = load_images(name)
    if view is None:
        return dataset
    if isinstance(view, str):
        if not dataset.has_saved_view(view):
            known = dataset.list_saved_views()
            raise UserError(f"FiftyOne dataset {name!r}: has no saved view {view!r}.{suggest(view, known)}")
        view = dataset.load_saved_view(view)
    refuse_other_kinds(view, f"FiftyOne dataset {name!r}, the view")
    return view


def _remove_earlier(out: Path, card: str) -> None:
    """Remove the folder of an earlier import, which has these two files only."""
    if out.is_dir() and {path.name for path in out.iterdir()} == {"manifest.csv", card}:
        shutil.rmtree(out)


def _kinds(dataset: Any) -> dict[str, str]:
    """Return the kind of each top-level field: `Classification`, `Detections`, `text`, …"""
    import fiftyone as fo

    kinds = {}
    for field, declared in dataset.get_field_schema().items():
        if isinstance(declared, fo.EmbeddedDocumentField):
            kinds[field] = declared.document_type.__name__
        elif isinstance(declared, fo.StringField):
            kinds[field] = "text"
    return kinds


def label_fields(dataset: Any) -> list[str]:
    """Return the fields of the dataset that may be its labels: Classifications."""
    return [field for field, kind in _kinds(dataset).items() if kind == "Classification"]


def _label_field(name: str, dataset: Any) -> str:
    fields = label_fields(dataset)
    if "ground_truth" in fields:
        return "ground_truth"
    if len(fields) != 1:
        named = ", ".join(fields) or "none"
        raise UserError(
            f"FiftyOne dataset {name!r}: {len(fields)} fields are Classifications ({named}).\n"
            "Choose the one with the labels: --label FIELD."
        )
    return str(fields[0])


def _path_in(name: str, dataset: Any, field: str, option: str, allowed: dict[str, str]) -> str:
    """Return the path of a field's values. Raises `UserError` if the field is missing or of another type."""
    kinds = _kinds(dataset)
    if field not in kinds or kinds[field] not in allowed:
        fitting = [f for f, kind in kinds.items() if kind in allowed and not f.startswith(("_", "id", "filepath"))]
        problem = f"is a {kinds[field]}" if field in kinds else "does not exist"
        raise UserError(
            f"FiftyOne dataset {name!r}: {option} {field}: {problem}; needed: {' or '.join(allowed)}."
            f"{suggest(field, fitting)}"
        )
    return field + allowed[kinds[field]]


def _read(name: str, dataset: Any, label: str, boxes: str | None, split: str | None) -> list[_Sample]:
    paths = ["filepath", _path_in(name, dataset, label, "--label", {"Classification": ".label", "text": ""})]
    paths.append(
        _path_in(name, dataset, split, "--split", {"text": "", "Classification": ".label"}) if split else "tags"
    )
    if boxes:
        allowed = {"Detections": ".detections.bounding_box", "Detection": ".bounding_box"}
        paths.append(_path_in(name, dataset, boxes, "--boxes", allowed))
    columns = dataset.values(paths)
    samples = []
    for path, text, split_or_tags, *detections in zip(*columns, strict=True):
        of_sample = _split_of_tags(path, split_or_tags) if split is None else str(split_or_tags or "").strip()
        relative = _boxes(detections[0] if detections else None)
        samples.append(_Sample(path, str(text or "").strip(), of_sample, relative))
    return samples


def _split_of_tags(path: str, tags: Sequence[str] | None) -> str:
    splits = sorted({split for split, names in SPLITS.items() for tag in tags or () if tag.lower() in names})
    if len(splits) > 1:
        raise UserError(f"{path}: has the tags of several splits, {', '.join(splits)}. Remove all but one.")
    return splits[0] if splits else ""


def _boxes(value: Any) -> tuple[Box, ...]:
    if not value:
        return ()
    listed = value if isinstance(value[0], list | tuple) else [value]
    return tuple((float(x), float(y), float(width), float(height)) for x, y, width, height in listed)


def _with_splits(name: str, samples: list[_Sample], split: str | None) -> tuple[list[_Sample], list[str]]:
    """Return the samples that can be used, and notes on the others."""
    labelled = [s for s in samples if s.label]
    any_split = any(s.split for s in labelled)
    usable = [s for s in labelled if s.split or not any_split]
    if not usable:
        raise UserError(f"FiftyOne dataset {name!r}: no sample has a label. Label some, or choose another --label.")
    without_label = [s for s in samples if not s.label]
    unlabelled = [replace(s, split="") for s in without_label if not s.split or s.split.lower() in SPLITS["train"]]
    notes = []
    if unlabelled:
        notes.append(f"{len(unlabelled):,} samples have no label: `rsam select --split unlabelled` chooses among them")
    if unusable := len(without_label) - len(unlabelled):
        notes.append(f"{unusable:,} evaluation samples have no label and are left out")
    if without_split := len(labelled) - len(usable):
        missing = f"no value in {split!r}" if split else "no tag of a split"
        notes.append(f"{without_split:,} samples have {missing} and are left out")
    return [*usable, *unlabelled], notes


def _joined(samples_and_notes: tuple[list[_Sample], list[str]]) -> tuple[list[_Sample], list[str]]:
    """Return one sample per file. Raises `UserError` if two samples of a file have different labels or splits."""
    samples, notes = samples_and_notes
    by_path: dict[str, _Sample] = {}
    for sample in samples:
        first = by_path.setdefault(sample.path, sample)
        if (first.label, first.split) != (sample.label, sample.split):
            raise UserError(
                f"{sample.path}: two samples with different labels or splits, {first.label!r} {first.split} and"
                f" {sample.label!r} {sample.split}. Remove one of them in FiftyOne."
            )
        if first is not sample:
            boxes = tuple(dict.fromkeys((*first.relative, *sample.relative)))
            by_path[sample.path] = _Sample(first.path, first.label, first.split, boxes)
    if len(by_path) < len(samples):
        notes.append(f"{len(samples) - len(by_path):,} samples of a file that another sample has too are joined")
    return list(by_path.values()), notes


def _write(path: Path, samples: Sequence[_Sample], any_split: bool) -> tuple[int, list[str]]:
    """Write the manifest; return the number of its boxes, and notes on those left out."""
    written, unusable, unreadable = 0, 0, 0
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER if any_split else [column for column in HEADER if column != "split"])
        for sample in samples:
            size = _size(sample.path) if sample.relative else (0, 0)
            usable = [b for b in dict.fromkeys(sample.relative) if b[2] > 0 and b[3] > 0] if size else []
            unusable += len(sample.relative) - len(usable) if size else 0
            unreadable += 0 if size else 1
            written += len(usable)
            for box in [_pixels(b, *size) for b in usable] if size and usable else [("", "", "", "")]:
                row = [sample.path, sample.label, *([sample.split] if any_split else []), *box]
                writer.writerow(map(csv_cell, row))
    notes = [f"{unusable:,} boxes without area or given twice are left out"] if unusable else []
    notes += [f"boxes of {unreadable:,} images that cannot be read are left out"] if unreadable else []
    return written, notes


def _pixels(box: Box, width: int, height: int) -> tuple[float, ...]:
    """Return a relative box in pixels, rounded to hide floating-point noise."""
    x, y, w, h = box
    return tuple(round(v, 6) for v in (x * width, y * height, w * width, h * height))


def _size(path: str) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            return displayed_size(image)
    except (*DECODE_ERRORS, Image.DecompressionBombError):
        return None


def card_name(name: str) -> str:
    """Return a name other than the source's, because `rsam review` creates a dataset with the card's name."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('-._') or 'fiftyone'}-rsam"


def _card_splits(name: str, splits: dict[str, int]) -> tuple[dict[str, str], list[str]]:
    """Return the card's names of the splits, and notes on the splits that no command reads."""
    named: dict[str, str] = {}
    for split, names in SPLITS.items():
        matching = [own for own in splits if own.lower() in names]
        if len(matching) > 1:
            raise UserError(
                f"FiftyOne dataset {name!r}: {' and '.join(map(repr, matching))} both mean {split}.\n"
                "Give these samples one split."
            )
        if matching:
            named[split] = matching[0]
    if splits and "train" not in named:
        raise UserError(
            f"FiftyOne dataset {name!r}: no split is called train (it has: {', '.join(splits)}).\n"
            "Tag the training samples `train`, or choose another --split."
        )
    others = {split: count for split, count in splits.items() if split not in named.values()}
    return named, [
        f"split {split!r} ({count:,} samples) is not train, val or test and is ignored"
        for split, count in others.items()
    ]
