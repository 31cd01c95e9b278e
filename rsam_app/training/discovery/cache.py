"""Discovered rectangles kept between runs: the next round of labelling need not look for the same objects again."""

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
from rsam_app.system.cache.files import cache_folder, write_cached
from rsam_app.system.errors import UserError
from rsam_app.system.files import fingerprint
from rsam_app.system.versions import DISCOVERED_RECTANGLES
from rsam_app.training.features.source import FeatureSource

MOST_CACHED = 64
"""Files; the ones that were used longest ago go first."""


def discoveries_path(source: FeatureSource, records: Sequence[Record], size: int, seed: int) -> Path:
    """Where the rectangles are kept that these weights find in these files at `size` pixels."""
    seen = (DISCOVERED_RECTANGLES, backbone_hash(source.model), files_hash(records), [r.id for r in records])
    return cache_folder() / "discovered" / f"{fingerprint(seen, size, seed, source.precision, torch.__version__)}.json"


def read_discoveries(path: Path) -> dict[str, Rectangle] | None:
    """Rectangles by record id, or None where none are kept there, or the file is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = {key: Rectangle(*(float(v) for v in values)) for key, values in content.items()}
        os.utime(path)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return found


def keep(path: Path, found: Mapping[str, Rectangle]) -> str | None:
    """Keep rectangles for the next run; returns why that could not be done, or None."""
    try:
        write_cached(path, json.dumps(found).encode())
        by_age = sorted(path.parent.glob("*.json"), key=lambda one: one.stat().st_mtime)
        for one in by_age[:-MOST_CACHED]:
            one.unlink(missing_ok=True)
    except (OSError, UserError) as error:
        return f"the discovered rectangles could not be kept for the next run ({error})"
    return None
