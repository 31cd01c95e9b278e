"""Cache of discovered rectangles, so that the next round of labelling need not discover them again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from rsam_app.data.images.file_identity import files_hash
from rsam_app.data.records import Record
from rsam_app.geometry.types import Rectangle
from rsam_app.model.store import backbone_hash
from rsam_app.system.cache.files import cache_folder
from rsam_app.system.files import fingerprint, write_atomically
from rsam_app.system.versions import DISCOVERED_RECTANGLES
from rsam_app.training.features.source import FeatureSource

MAX_FILES = 64
"""Cached files; the least recently used ones are removed."""


def discoveries_path(source: FeatureSource, records: Sequence[Record], size: int, seed: int) -> Path:
    """The cache file of the rectangles that these weights find in these image files at `size` pixels."""
    made_from = (DISCOVERED_RECTANGLES, backbone_hash(source.model), files_hash(records), [record.id for record in records])
    key = fingerprint(made_from, size, seed, source.precision, torch.__version__)
    return cache_folder() / "discovered" / f"{key}.json"


def read_discoveries(path: Path) -> dict[str, Rectangle] | None:
    """Rectangles by record id, or None if none are cached or the file is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rectangles = {key: Rectangle(*(float(v) for v in values)) for key, values in content.items()}
        os.utime(path)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return rectangles


def cache_discoveries(path: Path, rectangles: Mapping[str, Rectangle]) -> str | None:
    """Cache rectangles for the next run; returns a message if they cannot be written, else None."""
    try:
        write_atomically(path, json.dumps(rectangles), shared=True)
        by_age = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)
        for file in by_age[:-MAX_FILES]:
            file.unlink(missing_ok=True)
    except OSError as error:
        return f"the discovered rectangles could not be cached for the next run ({error})"
    return None
