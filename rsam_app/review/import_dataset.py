"""`rsam import-fiftyone`: a FiftyOne dataset as a source, written as a manifest and a card.

A layout that opened the database itself would bring FiftyOne to every training process and node; what was labelled
would also change under a run that is to be resumed. So the dataset is read once, here, and training reads the files.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from rsam_app.data.images.decoding import displayed_size
from rsam_app.data.images.scan import DECODE_ERRORS
from rsam_app.export.staging import staged
from rsam_app.geometry.types import Box
from rsam_app.system.errors import UserError, suggest
from rsam_app.system.mongodb.connection import import_fiftyone

HEADER = ("path", "label", "split", "x", "y", "width", "height")
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
"""Our splits, and what tags and fields call them."""


@dataclass(frozen=True)
class Imported:
    """What was written."""

    card: str
    images: int
    classes: int
    boxes: int
    splits: dict[str, int]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def text(self) -> str:
        """For a person."""
        splits = ", ".join(f"{n:,} {split}" for split, n in self.splits.items()) or "no splits"
        made = f"{self.card}: {self.images:,} images of {self.classes:,} classes ({splits}), {self.boxes:,} boxes"
        return "\n".join([*self.notes, made, f"In a pipeline: `dataset: {self.card}`"])


@dataclass(frozen=True)
class _Sample:
    path: str
    label: str
    split: str
    relative: tuple[Box, ...]


def import_dataset(
    name: str, out: Path, label: str | None = None, boxes: str | None = None, split: str | None = None
) -> Imported:
    """Write `out/manifest.csv` and `out/CARD.yaml` for a FiftyOne dataset of images; the images stay where they are.

    `label` is a Classification or text field (found where there is one that can be meant), `boxes` a Detections field,
    `split` a text field; without it, tags such as `train` and `test` are the splits. Boxes are converted to pixels of
    the image as displayed. Samples without a label are images to be labelled; such in a split to measure on, and in a
    dataset with splits labelled ones without one, are left out and counted. Raises `UserError`.
    """
    dataset = _open(name)
    label = label or _label_field(dataset)
    found, notes = _joined(_with_splits(name, _read(dataset, label, boxes, split), split))
    splits = dict(sorted(Counter(s.split for s in found if s.split).items()))
    card: dict[str, Any] = {
        "name": _card_name(name),
        "layout": "manifest",
        "root": str(out.absolute() / "manifest.csv"),
    }
    named, unnamed = _card_splits(name, splits)
    card |= {"licence": str(dataset.info.get("licence") or "not stated"), **({"splits": named} if named else {})}
    with staged(out) as folder:
        written, box_notes = _write(folder / "manifest.csv", found, bool(splits))
        origin = f"# From the FiftyOne dataset {name!r}, labels of {label!r}, " + (
            f"boxes of {boxes!r}" if boxes else "no boxes"
        )
        text = f"{origin}\n{yaml.safe_dump(card, sort_keys=False, allow_unicode=True)}"
        (folder / f"{card['name']}.yaml").write_text(text, encoding="utf-8")
    path = str(out / f"{card['name']}.yaml")
    return Imported(
        path, len(found), len({s.label for s in found if s.label}), written, splits, (*notes, *unnamed, *box_notes)
    )


def _open(name: str) -> Any:
    fo = import_fiftyone()
    known = fo.list_datasets()
    if name not in known:
        raise UserError(f"FiftyOne has no dataset {name!r}.{suggest(name, known) or ' It has none.'}")
    dataset = fo.load_dataset(name)
    dataset.reload()
    if not len(dataset) or dataset.media_type != "image":
        what = f"holds {dataset.media_type}s" if len(dataset) else "is empty"
        raise UserError(f"FiftyOne dataset {name!r}: {what}; samples with one image each are needed.")
    return dataset


def _kinds(dataset: Any) -> dict[str, str]:
    """`Classification`, `Detections`, `text`, … of every field at the top."""
    import fiftyone as fo

    kinds = {}
    for field, described in dataset.get_field_schema().items():
        if isinstance(described, fo.EmbeddedDocumentField):
            kinds[field] = described.document_type.__name__
        elif isinstance(described, fo.StringField):
            kinds[field] = "text"
    return kinds


def _label_field(dataset: Any) -> str:
    fields = [field for field, kind in _kinds(dataset).items() if kind == "Classification"]
    if "ground_truth" in fields:
        return "ground_truth"
    if len(fields) != 1:
        named = ", ".join(fields) or "none"
        raise UserError(
            f"FiftyOne dataset {dataset.name!r}: {len(fields)} fields are Classifications ({named}).\n"
            "Say which holds the labels: --label FIELD."
        )
    return str(fields[0])


def _path_in(dataset: Any, field: str, option: str, allowed: dict[str, str]) -> str:
    """Where a field's values lie. Raises `UserError` where the field is missing or of another type."""
    kinds = _kinds(dataset)
    if field not in kinds or kinds[field] not in allowed:
        fitting = [f for f, kind in kinds.items() if kind in allowed and not f.startswith(("_", "id", "filepath"))]
        problem = f"is a {kinds[field]}" if field in kinds else "is not there"
        raise UserError(
            f"FiftyOne dataset {dataset.name!r}: {option} {field}: {problem}; needed: {' or '.join(allowed)}."
            f"{suggest(field, fitting)}"
        )
    return field + allowed[kinds[field]]


def _read(dataset: Any, label: str, boxes: str | None, split: str | None) -> list[_Sample]:
    paths = ["filepath", _path_in(dataset, label, "--label", {"Classification": ".label", "text": ""})]
    paths.append(_path_in(dataset, split, "--split", {"text": "", "Classification": ".label"}) if split else "tags")
    if boxes:
        allowed = {"Detections": ".detections.bounding_box", "Detection": ".bounding_box"}
        paths.append(_path_in(dataset, boxes, "--boxes", allowed))
    columns = dataset.values(paths)
    samples = []
    for path, name, told, *drawn in zip(*columns, strict=True):
        where = _of_tags(path, told) if split is None else str(told or "").strip()
        samples.append(_Sample(path, str(name or "").strip(), where, _boxes(drawn[0] if drawn else None)))
    return samples


def _of_tags(path: str, tags: Sequence[str] | None) -> str:
    found = sorted({ours for ours, theirs in SPLITS.items() for tag in tags or () if tag.lower() in theirs})
    if len(found) > 1:
        raise UserError(f"{path}: carries the tags of several splits, {', '.join(found)}. Take off all but one.")
    return found[0] if found else ""


def _boxes(drawn: Any) -> tuple[Box, ...]:
    if not drawn:
        return ()
    listed = drawn if isinstance(drawn[0], list | tuple) else [drawn]
    return tuple((float(x), float(y), float(width), float(height)) for x, y, width, height in listed)


def _with_splits(name: str, samples: list[_Sample], split: str | None) -> tuple[list[_Sample], list[str]]:
    """Samples that can be used, and notes on the others."""
    labelled = [s for s in samples if s.label]
    any_split = any(s.split for s in labelled)
    kept = [s for s in labelled if s.split or not any_split]
    if not kept:
        raise UserError(f"FiftyOne dataset {name!r}: no sample has a label. Label some, or choose another --label.")
    blank = [s for s in samples if not s.label]
    unlabelled = [replace(s, split="") for s in blank if not s.split or s.split.lower() in SPLITS["train"]]
    notes = []
    if unlabelled:
        notes.append(f"{len(unlabelled):,} samples have no label: `rsam select --split unlabelled` chooses among them")
    if len(unlabelled) < len(blank):
        notes.append(f"{len(blank) - len(unlabelled):,} samples to measure on have no label and are left out")
    if len(kept) < len(labelled):
        what = f"nothing in {split!r}" if split else "no tag of a split"
        notes.append(f"{len(labelled) - len(kept):,} samples have {what} and are left out")
    return [*kept, *unlabelled], notes


def _joined(found: tuple[list[_Sample], list[str]]) -> tuple[list[_Sample], list[str]]:
    """One sample for each file. Raises `UserError` where two samples of a file say different things."""
    samples, notes = found
    by_path: dict[str, _Sample] = {}
    for sample in samples:
        first = by_path.setdefault(sample.path, sample)
        if (first.label, first.split) != (sample.label, sample.split):
            raise UserError(
                f"{sample.path}: two samples say {first.label!r} {first.split} and {sample.label!r} {sample.split}."
                " Remove one of them in FiftyOne."
            )
        if first is not sample:
            boxes = tuple(dict.fromkeys((*first.relative, *sample.relative)))
            by_path[sample.path] = _Sample(first.path, first.label, first.split, boxes)
    if len(by_path) < len(samples):
        notes.append(f"{len(samples) - len(by_path):,} samples are of a file that another one has too; joined")
    return list(by_path.values()), notes


def _write(path: Path, samples: Sequence[_Sample], any_split: bool) -> tuple[int, list[str]]:
    """Write the manifest; how many boxes it has, and notes on those it has not."""
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
                writer.writerow([sample.path, sample.label, *([sample.split] if any_split else []), *box])
    notes = [f"{unusable:,} boxes have no area, or stand twice, and are left out"] if unusable else []
    notes += [f"the boxes of {unreadable:,} images that cannot be read are left out"] if unreadable else []
    return written, notes


def _pixels(box: Box, width: int, height: int) -> tuple[float, ...]:
    """Pixels of a box relative to an image; rounded far below a pixel, where only the arithmetic shows."""
    x, y, w, h = box
    return tuple(round(v, 6) for v in (x * width, y * height, w * width, h * height))


def _size(path: str) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            return displayed_size(image)
    except (*DECODE_ERRORS, Image.DecompressionBombError):
        return None


def _card_name(name: str) -> str:
    """A name that FiftyOne's own dataset does not have: `rsam review` makes one under the card's name."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name).strip('-._') or 'fiftyone'}-rsam"


def _card_splits(name: str, splits: dict[str, int]) -> tuple[dict[str, str], list[str]]:
    """What the card calls the splits, and notes on those that it does not name and no command will read."""
    named: dict[str, str] = {}
    for ours, theirs in SPLITS.items():
        matching = [split for split in splits if split.lower() in theirs]
        if len(matching) > 1:
            raise UserError(
                f"FiftyOne dataset {name!r}: {' and '.join(map(repr, matching))} both mean {ours}.\nMake one of them."
            )
        if matching:
            named[ours] = matching[0]
    if splits and "train" not in named:
        raise UserError(
            f"FiftyOne dataset {name!r}: no split is called train (found: {', '.join(splits)}).\n"
            "Tag the samples to train on `train`, or choose another --split."
        )
    others = {split: count for split, count in splits.items() if split not in named.values()}
    return named, [
        f"split {split!r} ({count:,} samples) is none of train, val and test" for split, count in others.items()
    ]
