"""What a dataset holds, as far as it matters before training: counts, sizes, and what looks wrong with them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from rsam_app.data import SPLITS, UNLABELLED, Dataset
from rsam_app.workflow.preflight.class_names import similar_names

FEW_IMAGES = 5
"""Training images below which a class is named as small."""
MAX_ASPECT = 4.0
"""Ratio of the sides above which an image is named as long: the network's input is square."""
NAMED = 5
"""Classes, pairs or images that a warning names."""


def dataset_facts(dataset: Dataset) -> dict[str, Any]:
    """Counts of images per split and per class, and the smallest, median and largest image, in pixels."""
    counts = Counter((record.label, record.split) for record in dataset.records)
    splits = [split for split in (*SPLITS, UNLABELLED) if dataset.split(split)]
    sides = np.array([(record.width, record.height) for record in dataset.records])
    order = np.argsort(sides.prod(axis=1), kind="stable")
    picked = sides[order[[0, len(order) // 2, -1]]].tolist()
    return {
        "name": dataset.name,
        "images": len(dataset.records),
        "splits": {split: len(dataset.split(split)) for split in splits},
        "classes": {name: {s: counts[name, s] for s in splits if s != UNLABELLED} for name in dataset.classes},
        "sizes": dict(zip(("smallest", "median", "largest"), picked, strict=True)),
    }


def summary_of(facts: dict[str, Any]) -> str:
    """One line of a dataset's facts: images, classes, and the images of each split."""
    classes, splits = len(facts["classes"]), counts_of(facts["splits"])
    return f"{facts['name']}: {facts['images']:,} images of {classes:,} classes ({splits})"


def counts_of(of_split: dict[str, int]) -> str:
    """Numbers of images by split, in words."""
    return ", ".join(f"{count:,} {split}" for split, count in of_split.items())


def dataset_warnings(dataset: Dataset, input_side: int) -> list[str]:
    """What may be wrong with a dataset that can be trained on at `input_side` pixels, one sentence each."""
    training = Counter(record.label for record in dataset.split("train"))
    small = [f"{name} ({training[name]})" for name in dataset.classes if training[name] < FEW_IMAGES]
    alike = [f"{a!r} and {b!r}" for a, b in similar_names(dataset.classes)]
    tiny = [r.id for r in dataset.records if max(r.width, r.height) < input_side / 2]
    long = [r.id for r in dataset.records if max(r.width, r.height) > MAX_ASPECT * min(r.width, r.height)]
    found = [
        (small, f"classes with fewer than {FEW_IMAGES} training images"),
        (alike, "pairs of class names differ little; do they mean one class?"),
        (tiny, f"images are smaller than half of the network's input, {input_side} pixels"),
        (long, f"images are more than {MAX_ASPECT:g} times as long as wide, and are resized to a square"),
    ]
    return [f"{len(names):,} {what}: {_first(names)}" for names, what in found if names]


def _first(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
