"""`rsam init`: write a card and a pipeline for a folder of images."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from rsam_app.config import Card, ModelConfig
from rsam_app.data.layouts.listing import Listing
from rsam_app.data.layouts.recognise import recognise
from rsam_app.data.unlabelled import list_unlabelled
from rsam_app.system.errors import UserError
from rsam_app.system.files import write_atomically

ARRANGED = {
    "folder": "in class folders",
    "manifest": "in a CSV",
    "huggingface": "in Hugging Face shards",
    "photographs": "in any folders",
    "inaturalist": "in JSON files in COCO format",
}


@dataclass(frozen=True)
class Initialised:
    """The files written for a folder of images, and what was seen in it."""

    card: str
    pipeline: str
    layout: str
    root: str
    images: int
    """Labelled ones."""
    unlabelled: int
    classes: dict[str, int]
    """Images of each class."""
    splits: dict[str, int]
    """Images of each split, under the data's own names; empty without splits."""
    with_boxes: int
    with_masks: int
    notes: tuple[str, ...]
    next: str
    """The command to run next."""

    def as_dict(self) -> dict[str, Any]:
        """Return the result for `--json`."""
        return asdict(self)

    def text(self) -> str:
        """Return the result as text."""
        arranged = ARRANGED.get(self.layout, f"as released ({self.layout})")
        lines = [f"{self.root}: {self.images:,} images of {len(self.classes):,} classes, {arranged}"]
        if self.classes:
            rare = min(self.classes, key=lambda name: self.classes[name])
            lines.append(f"fewest images: {rare} ({self.classes[rare]:,})")
        else:
            lines = [f"{self.root}: {self.unlabelled:,} photographs without labels"]
        if self.splits:
            lines.append("splits: " + ", ".join(f"{name} {count:,}" for name, count in self.splits.items()))
        if self.unlabelled and self.classes:
            lines.append(f"without a label: {self.unlabelled:,}")
        if self.with_boxes or self.with_masks:
            lines.append(f"with boxes: {self.with_boxes:,}, with masks: {self.with_masks:,} (to measure with only)")
        return "\n".join([*lines, *self.notes, f"wrote {self.card} and {self.pipeline}", f"next: {self.next}"])


def initialise(
    path: Path,
    name: str | None = None,
    backbone: str | None = None,
    recognised: tuple[Card, Listing] | None = None,
) -> Initialised:
    """Write `datasets/NAME.yaml` and `pipelines/NAME.yaml` below the working folder, for the images at `path`.

    `name` defaults to the folder's, the card to the `recognised` one. No image is opened. Raises `UserError` if one of
    the files exists or the images' arrangement is not recognised.
    """
    name = name or name_of(path)
    files = {kind: Path(kind, f"{name}.yaml") for kind in ("datasets", "pipelines")}
    for file in files.values():
        if file.exists():
            raise UserError(f"{file}: exists and is not overwritten. Remove it, or choose another name with --name.")
    card, listing = recognised or recognise(path.absolute(), name)
    seen = _seen(card, listing, files)
    write_atomically(files["datasets"], _card_text(card, path))
    write_pipeline(name, name, backbone)
    return seen


def _seen(card: Card, listing: Listing, files: dict[str, Path]) -> Initialised:
    labelled = [record for record in listing.records if record.label]
    unlisted, notes = list_unlabelled(card, listing.records)
    counts = Counter(record.label for record in labelled)
    return Initialised(
        card=str(files["datasets"]),
        pipeline=str(files["pipelines"]),
        layout=card.layout,
        root=card.root,
        images=len(labelled),
        unlabelled=len(listing.records) - len(labelled) + len(unlisted),
        classes={label: counts[label] for label in listing.classes},
        splits=dict(Counter(record.split for record in labelled if record.split)),
        with_boxes=sum(bool(record.boxes) for record in labelled),
        with_masks=sum(record.mask is not None for record in labelled),
        notes=(*listing.notes, *notes),
        next=f"rsam check {card.name}" if labelled else f"rsam label {card.name}",
    )


def name_of(path: Path) -> str:
    """The default name of the card of the images at `path`."""
    folder = path.absolute().parent if path.is_file() else path.absolute()
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-._") or "images"


def _card_text(card: Card, given: Path) -> str:
    written: dict[str, Any] = {"name": card.name, "layout": card.layout, "root": _below_data(card.root)}
    if card.unlabelled:
        written["unlabelled"] = _below_data(card.unlabelled)
    changed = card.model_dump(exclude_defaults=True, exclude={"name", "layout", "root", "unlabelled", "download"})
    header = f"# The images in {given}; written by `rsam init`. Keys: `rsam config schema card`, docs/data.md."
    return f"{header}\n{yaml.safe_dump(written | changed, sort_keys=False, allow_unicode=True)}"


def write_pipeline(name: str, dataset: str, backbone: str | None = None) -> Path:
    """Write `pipelines/NAME.yaml` below the working folder for a card, given by its name or file; return its path."""
    path = Path("pipelines", f"{name}.yaml")
    write_atomically(path, pipeline_text(name, dataset, backbone))
    return path


def pipeline_text(name: str, dataset: str, backbone: str | None = None) -> str:
    """Return a pipeline's file, for a card given by its name or file."""
    return (
        f"# Written by `rsam init`. `rsam config show {name}` lists every key with its value, default and meaning.\n"
        f"dataset: {dataset}\nseed: 0\nmodel: {{backbone: {backbone or ModelConfig().backbone}, weights: timm}}\n"
        "train: {epochs: 12}\nselect: {budget: 100}\n"
    )


def _below_data(path: str) -> str:
    """The path as a card names it: relative to RSAM_DATA if it is inside, else absolute."""
    data = Path(os.environ.get("RSAM_DATA") or "data").absolute()
    return str(Path(path).relative_to(data)) if Path(path).is_relative_to(data) else path
